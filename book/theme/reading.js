"use strict";

// What mdBook's own pages lack for those who read by keyboard or by ear.

(() => {
    document.getElementById("mdbook-menu-bar").setAttribute("role", "banner");

    // The button for the table of contents is a label, which no key reaches.
    const contents = document.getElementById("mdbook-sidebar-toggle");
    contents.setAttribute("role", "button");
    contents.tabIndex = 0;
    contents.addEventListener("keydown", (event) => {
        if (["Enter", " "].includes(event.key)) {
            event.preventDefault();
            contents.click();
        }
    });

    // What can be scrolled sideways can be reached, and its arrow keys turn no page. A card shows
    // its output later: it says so.
    const scrollers = document.querySelectorAll("pre > code, .checkpoint-output, .table-wrapper");
    const look = () => {
        for (const scroller of scrollers) {
            if (scroller.scrollWidth > scroller.clientWidth) {
                scroller.tabIndex = 0;
            } else {
                scroller.removeAttribute("tabindex");
            }
        }
    };
    for (const scroller of scrollers) {
        scroller.addEventListener("keydown", (event) => event.stopPropagation());
    }
    look();
    addEventListener("resize", look);
    document.addEventListener("checkpoint-open", look);
})();
