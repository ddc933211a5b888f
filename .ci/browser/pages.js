// Every page in every view: no complaint, nothing wider than the window, accessible.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");

const AXE = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** Pages of which there are pictures to look at. */
const PICTURES = [
    "introduction.html", "checkpoints.html", "reference/commands.html", "reference/steps.html",
    "part1/overview.html", "part1/chroot.html", "part2/two-numbers.html", "part5/published.html",
];

exports.check = async (checks, views, names) => {
    const readers = [];
    for (const view of views) {
        readers.push([view, await checks.reader(view)]);
    }
    for (const name of names) {
        await checks.check(`${name}: fits, says nothing, is accessible`, async () => {
            const found = await Promise.all(readers.map(async ([view, reader]) => {
                const picture = `${name.replace(/\W/g, "-")}-${view.name.replace(" ", "-")}`;
                const problems = await look(checks, reader, name, PICTURES.includes(name) && picture);
                return problems.map((problem) => `${view.name}: ${problem}`);
            }));
            assert.ok(found.flat().length === 0, found.flat().join("\n"));
        });
    }
    for (const theme of ["rust", "coal", "ayu"]) {
        await checks.check(`a card and tables are accessible in the theme ${theme}`, async () => {
            const reader = await checks.reader(views[2]);
            await reader.addInitScript((theme) => localStorage.setItem("mdbook-theme", theme), theme);
            for (const name of [names.find((name) => name.startsWith("part1/")), names.at(-1)]) {
                const problems = await look(checks, reader, name);
                assert.ok(problems.length === 0, problems.join("\n"));
            }
            await reader.close();
        });
    }
    for (const [, reader] of readers) {
        await reader.close();
    }
};

/** All that is wrong with a page, in a new window of a reader. */
async function look(checks, reader, name, picture) {
    const page = await checks.open(reader);
    await page.goto(checks.url(name));
    const problems = [...await tooWide(page), ...await accessible(page), ...page.complaints];
    if (picture) {
        await checks.shoot(page, picture);
    }
    await page.close();
    return problems;
}

/** What makes the page scroll sideways. */
async function tooWide(page) {
    return page.evaluate(() => {
        const width = document.documentElement.clientWidth;
        if (document.documentElement.scrollWidth <= width) {
            return [];
        }
        const wide = [...document.querySelectorAll("main *")]
            .filter((element) => element.getBoundingClientRect().right > width + 1)
            .map((element) => element.outerHTML.slice(0, 100));
        return [`scrolls sideways: ${wide.slice(0, 3).join(" | ")}`];
    });
}

/**
 * What may stay: mdBook's button for the table of contents is a label, and a label should have no
 * role. `book/theme/reading.js` gives it one all the same, and a place among what Tab reaches:
 * without them no reader by ear or keyboard gets to it.
 */
const ACCEPTED = [{ id: "aria-allowed-role", target: "#mdbook-sidebar-toggle" }];

/** What axe finds. */
async function accessible(page) {
    await page.evaluate(AXE);
    // Without `preload` it does not ask for the style sheets, which a file may not.
    const { violations } = await page.evaluate(() => axe.run(document, { preload: false }));
    const isAccepted = (id, node) => ACCEPTED.some(
        (accepted) => accepted.id === id && node.target.length === 1 && node.target[0] === accepted.target);
    return violations.flatMap(({ id, help, nodes }) => nodes.filter((node) => !isAccepted(id, node))
        .slice(0, 3).map((node) => `${id}: ${help}: ${node.html.slice(0, 160)} ${node.any[0]?.message ?? ""}`));
}
