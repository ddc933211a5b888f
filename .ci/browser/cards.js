// A card of a checkpoint, used in every way: with the mouse, with the keyboard, without scripts.
"use strict";

const assert = require("node:assert/strict");

exports.check = async (checks, views, name) => {
    for (const view of views) {
        await withTheMouse(checks, view, name);
    }
    await withTheKeyboard(checks, views[3], name);
    await withoutScripts(checks, views, name);
    await onPaper(checks, views[2], name);
};

/** The pieces of the first card that asks. */
function pieces(page) {
    const card = page.locator(".checkpoint-asks").first();
    return {
        card,
        choices: card.locator("input[type=radio]"),
        answer: card.getByRole("button", { name: "Answer" }),
        show: card.getByRole("button", { name: /^(Show|Hide) the output$/ }),
        copyAll: card.getByRole("button", { name: /^Copy (all commands|the command)$/ }),
        copyOne: card.locator(".checkpoint-line button").first(),
        verdict: card.locator(".checkpoint-verdict"),
        seen: card.locator(".checkpoint-seen").last(),
        right: async () => Number(await card.locator(".checkpoint-predict").getAttribute("data-answer")) - 1,
        commands: () => card.locator(".checkpoint-command").allTextContents(),
    };
}

async function withTheMouse(checks, view, name) {
    const page = await checks.window(view, { permissions: ["clipboard-read", "clipboard-write"] });
    await page.goto(checks.url(name));
    const { card, choices, answer, show, copyAll, copyOne, verdict, seen, right, commands } = pieces(page);
    const picture = (what) => checks.shoot(page, `card-${what}-${view.name.replace(" ", "-")}`);

    await checks.check(`${view.name}: the output stays closed before the prediction`, async () => {
        assert.equal(await seen.isVisible(), false);
        await show.click({ force: true });
        assert.equal(await seen.isVisible(), false);
        assert.match(await verdict.textContent(), /^Predict first/);
        await answer.click();
        assert.match(await verdict.textContent(), /^Choose one/);
        await picture("asks");
    });

    await checks.check(`${view.name}: a wrong prediction`, async () => {
        const wrong = (await right()) === 0 ? 1 : 0;
        await choices.nth(wrong).check();
        await answer.click();
        assert.match(await verdict.textContent(), /^Not so/);
        assert.equal(await verdict.getAttribute("role"), "status");
        assert.equal(await card.locator("label.is-wrong").count(), 1);
    });

    await checks.check(`${view.name}: the right prediction, then the output`, async () => {
        await choices.nth(await right()).check();
        await answer.click();
        assert.match(await verdict.textContent(), /^Right/);
        assert.equal(await card.locator("label.is-wrong").count(), 0);
        assert.equal(await seen.isVisible(), false);
        await show.click();
        assert.equal(await seen.isVisible(), true);
        assert.equal(await show.getAttribute("aria-expanded"), "true");
        await picture("open");
    });

    await checks.check(`${view.name}: the copy buttons`, async () => {
        const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
        const all = await commands();
        await copyAll.click();
        await page.getByRole("button", { name: "Copied" }).first().waitFor();
        assert.equal(await clipboard(), `${all.join("\n")}\n`);
        assert.doesNotMatch(await clipboard(), /^[$>] /m);
        await copyOne.click();
        assert.equal(await clipboard(), `${all[0]}\n`);
    });

    await checks.check(`${view.name}: the prediction is remembered`, async () => {
        await page.reload();
        assert.equal(await choices.nth(await right()).isChecked(), true);
        assert.match(await verdict.textContent(), /^Right/);
        assert.equal(await seen.isVisible(), false);
        await show.click();
        assert.equal(await seen.isVisible(), true);
        await card.locator(".checkpoint-hint summary").click();
        assert.equal(await card.locator(".checkpoint-hint").getAttribute("open"), "");
        assert.deepEqual(page.complaints, []);
    });
    await page.context().close();
}

async function withTheKeyboard(checks, view, name) {
    const page = await checks.window(view);
    await page.goto(checks.url(name));
    const { choices, answer, show, verdict, seen } = pieces(page);
    const isFocused = (piece) => piece.evaluate((element) => element === document.activeElement);
    const tabTo = async (piece) => {
        for (let presses = 0; presses < 40; presses += 1) {
            if (await isFocused(piece)) {
                return;
            }
            await page.keyboard.press("Tab");
        }
        assert.fail("Tab does not lead there");
    };

    await checks.check("by keyboard: choose, answer, open", async () => {
        await page.locator(".checkpoint h2 a").first().focus();
        await tabTo(choices.first());
        await page.keyboard.press("ArrowRight");
        assert.equal(await choices.nth(1).isChecked(), true);
        assert.equal(await verdict.textContent(), "");
        await tabTo(answer);
        await page.keyboard.press("Enter");
        assert.match(await verdict.textContent(), /^(Right|Not so)/);
        assert.equal(await isFocused(answer), true);
        await tabTo(show);
        await page.keyboard.press("Space");
        assert.equal(await seen.isVisible(), true);
        assert.equal(await isFocused(show), true);
        assert.match(page.url(), new RegExp(`${name}$`), "an arrow key has turned the page");
    });

    await checks.check("by keyboard: it is seen where one is", async () => {
        const outline = await show.evaluate((element) => getComputedStyle(element).outlineStyle);
        assert.equal(outline, "solid");
    });
    await page.context().close();
}

async function withoutScripts(checks, views, name) {
    for (const view of [views[0], views[3]]) {
        await checks.check(`${view.name}, without scripts: all of the card is visible`, async () => {
            const page = await checks.window(view, { javaScriptEnabled: false });
            await page.goto(checks.url(name));
            const { card, choices } = pieces(page);
            for (const piece of await card.locator(".checkpoint-seen").all()) {
                assert.equal(await piece.isVisible(), true);
            }
            assert.equal(await choices.first().isVisible(), true);
            assert.equal(await card.locator(".checkpoint-answer").isVisible(), true);
            assert.equal(await card.locator("button").count(), 0);
            await checks.shoot(page, `card-without-scripts-${view.name.replace(" ", "-")}`);
            await page.context().close();
        });
    }
}

async function onPaper(checks, view, name) {
    await checks.check("on paper: all of the card is visible, and no button", async () => {
        const page = await checks.window(view);
        await page.goto(checks.url(name));
        await page.emulateMedia({ media: "print" });
        const { card, seen } = pieces(page);
        assert.equal(await seen.isVisible(), true);
        assert.equal(await card.locator("button:visible").count(), 0);
        await page.context().close();
    });

    await checks.check("on the page of all pages every card is open", async () => {
        const page = await checks.window(view);
        await page.addInitScript(() => { window.print = () => {}; });
        await page.goto(checks.url("print.html"));
        assert.ok(await page.locator(".checkpoint-asks").count() > 0);
        assert.equal(await page.locator(".checkpoint-asks:not(.is-open)").count(), 0);
        assert.deepEqual(page.complaints, []);
        await page.context().close();
    });
}
