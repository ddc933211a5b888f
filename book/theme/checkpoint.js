"use strict";

// Makes the cards of checkpoints answer. Without this script all of a card is visible; with it,
// what has the class `checkpoint-seen` is hidden until the prediction is made.

(() => {
    const onPaper = /\/print\.html$/.test(location.pathname);

    for (const card of document.querySelectorAll(".checkpoint")) {
        const session = card.querySelector(".checkpoint-session");
        const commands = [...card.querySelectorAll(".checkpoint-command")];
        session.before(tools(card, session, commands));
        for (const command of commands) {
            addCopyButton(command);
        }
    }

    // The row above the session: copy all commands, show the output.
    function tools(card, session, commands) {
        const row = document.createElement("div");
        row.className = "checkpoint-tools";
        if (card.matches(".checkpoint-asks")) {
            const show = button("Show the output");
            session.id ||= `session-${card.dataset.id.replace(".", "-")}`;
            show.setAttribute("aria-controls", session.id);
            row.append(show);
            predict(card, show);
        }
        const all = commands.map((command) => command.textContent).join("\n");
        row.append(copyButton(commands.length > 1 ? "Copy all commands" : "Copy the command", all));
        return row;
    }

    function predict(card, show) {
        const form = card.querySelector(".checkpoint-predict");
        const verdict = form.querySelector(".checkpoint-verdict");
        const choices = [...form.querySelectorAll("input")];
        const key = `inside-docker-prediction-${card.dataset.id}`;
        const answer = button("Answer");
        verdict.before(answer);

        const open = (isOpen) => {
            card.classList.toggle("is-open", isOpen);
            show.setAttribute("aria-expanded", isOpen);
            show.textContent = isOpen ? "Hide the output" : "Show the output";
            document.dispatchEvent(new Event("checkpoint-open"));
        };
        const judge = (chosen) => {
            for (const choice of choices) {
                choice.closest("label").classList.remove("is-right", "is-wrong");
            }
            const isRight = chosen.value === form.dataset.answer;
            chosen.closest("label").classList.add(isRight ? "is-right" : "is-wrong");
            verdict.textContent = isRight
                ? "Right. Now see it happen."
                : "Not so. See what happens instead.";
            show.removeAttribute("aria-disabled");
        };

        answer.addEventListener("click", () => {
            const chosen = choices.find((choice) => choice.checked);
            if (!chosen) {
                verdict.textContent = "Choose one first.";
                return;
            }
            judge(chosen);
            remember(key, chosen.value);
        });
        show.addEventListener("click", () => {
            if (show.getAttribute("aria-disabled") === "true") {
                verdict.textContent = "Predict first: then the output can be opened.";
            } else {
                open(!card.matches(".is-open"));
            }
        });

        // mdBook turns the page at an arrow key; here it chooses.
        form.addEventListener("keydown", (event) => event.stopPropagation());
        open(onPaper);
        show.setAttribute("aria-disabled", "true");
        const before = choices.find((choice) => choice.value === remembered(key));
        if (before) {
            before.checked = true;
            judge(before);
        }
    }

    function addCopyButton(command) {
        const line = document.createElement("div");
        line.className = "checkpoint-line";
        command.replaceWith(line);
        const copy = copyButton("Copy", command.textContent);
        copy.setAttribute("aria-label", `Copy ${command.textContent.split("\n")[0]}`);
        line.append(command, copy);
    }

    function button(text) {
        const made = document.createElement("button");
        made.type = "button";
        made.textContent = text;
        return made;
    }

    function copyButton(label, text) {
        const copy = button(label);
        copy.addEventListener("click", async () => {
            const done = await toClipboard(text + "\n");
            copy.textContent = done ? "Copied" : "Cannot copy";
            say(copy.textContent);
            setTimeout(() => { copy.textContent = label; }, 1500);
        });
        return copy;
    }

    // A page that is neither a file nor from this machine has no clipboard to write to, but may
    // copy what is selected.
    async function toClipboard(text) {
        try {
            await navigator.clipboard.writeText(text);
            return true;
        } catch {
            const field = document.createElement("textarea");
            field.value = text;
            field.style.position = "fixed";
            const before = document.activeElement;
            document.body.append(field);
            field.select();
            const done = document.execCommand("copy");
            field.remove();
            before?.focus();
            return done;
        }
    }

    // For screen readers.
    function say(text) {
        let place = document.getElementById("checkpoint-say");
        if (!place) {
            place = document.createElement("div");
            place.id = "checkpoint-say";
            place.className = "visually-hidden";
            place.setAttribute("role", "status");
            document.querySelector("main").append(place);
        }
        place.textContent = text;
    }

    // A browser may forbid storage, also for files.
    function remember(key, value) {
        try {
            localStorage.setItem(key, value);
        } catch { /* then it asks again */ }
    }

    function remembered(key) {
        try {
            return localStorage.getItem(key);
        } catch {
            return null;
        }
    }
})();
