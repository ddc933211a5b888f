// mdBook's own parts as a reader uses them: next and previous, the table of contents, the themes.
"use strict";

const assert = require("node:assert/strict");

exports.check = async (checks, views, names) => {
    const first = "introduction.html";
    for (const view of views) {
        const isPhone = view.name.startsWith("phone");
        const page = await checks.window(view);

        await checks.check(`${view.name}: next and previous`, async () => {
            await page.goto(checks.url(first));
            const arrow = (rel) => page.locator(`a[rel~="${rel}"]:visible`).first();
            const title = await page.title();
            await arrow("next").click();
            await page.waitForURL((url) => !url.pathname.endsWith(first));
            assert.notEqual(await page.title(), title);
            await arrow("prev").click();
            await page.waitForURL((url) => url.pathname.endsWith(first));
        });

        await checks.check(`${view.name}: the table of contents`, async () => {
            await page.goto(checks.url(first));
            const link = page.locator("#mdbook-sidebar a[href$='checkpoints.html']");
            if (isPhone) {
                await page.locator("#mdbook-sidebar-toggle").click();
            }
            await link.click();
            await page.waitForURL((url) => url.pathname.endsWith("/checkpoints.html"));
            assert.equal(await page.locator("main h1").textContent(), "All checkpoints");
        });

        await checks.check(`${view.name}: the theme of the system, and one that is chosen`, async () => {
            await page.goto(checks.url(first));
            const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
            const isDark = async () => Number(/\d+/.exec(await background())[0]) < 128;
            assert.equal(await isDark(), view.colorScheme === "dark");
            await page.locator("#mdbook-theme-toggle").click();
            await page.locator(view.colorScheme === "dark" ? "#mdbook-theme-light" : "#mdbook-theme-navy").click();
            assert.equal(await isDark(), view.colorScheme !== "dark");
            await page.reload();
            assert.equal(await isDark(), view.colorScheme !== "dark");
        });

        await checks.check(`${view.name}: nothing of that complains`, async () => {
            assert.deepEqual(page.complaints, []);
        });
        await page.context().close();
    }

    await checks.check("by keyboard: the table of contents", async () => {
        const page = await checks.window(views[0]);
        await page.goto(checks.url(first));
        const link = page.locator("#mdbook-sidebar a[href$='checkpoints.html']");
        assert.equal(await link.evaluate((a) => a.tabIndex), -1);
        await page.locator("#mdbook-sidebar-toggle").focus();
        await page.keyboard.press("Enter");
        await link.focus();
        await page.keyboard.press("Enter");
        await page.waitForURL((url) => url.pathname.endsWith("/checkpoints.html"));
        await page.context().close();
    });

    await checks.check("the search finds a page, from a file", async () => {
        const page = await checks.window(views[3]);
        await page.goto(checks.url(first));
        await page.keyboard.press("/");
        await page.locator("#mdbook-searchbar").pressSequentially("checkpoints");
        await page.locator("#mdbook-searchresults a").first().waitFor();
        assert.deepEqual(page.complaints, []);
        await page.context().close();
    });

    await checks.check(`all ${names.length} pages are in the table of contents`, async () => {
        const page = await checks.window(views[3]);
        await page.goto(checks.url(first));
        const links = await page.locator("#mdbook-sidebar a").evaluateAll((all) => all.map((a) => a.href));
        const reached = new Set(links.map((link) => link.split("#")[0]));
        const lost = names.filter((name) => name !== "index.html" && !reached.has(checks.url(name)));
        assert.deepEqual(lost, []);
        await page.context().close();
    });
};
