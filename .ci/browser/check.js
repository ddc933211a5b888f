// The built book in a real browser: every page in four views, and a card used in every way.
//
//     check.js BOOK SCREENSHOTS [PAGE…]
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");
const cards = require("./cards.js");
const chrome = require("./chrome.js");
const pages = require("./pages.js");

const FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

const PHONE = { width: 360, height: 740 };
const DESKTOP = { width: 1280, height: 900 };

const VIEWS = [
    { name: "phone light", viewport: PHONE, colorScheme: "light" },
    { name: "phone dark", viewport: PHONE, colorScheme: "dark" },
    { name: "desktop light", viewport: DESKTOP, colorScheme: "light" },
    { name: "desktop dark", viewport: DESKTOP, colorScheme: "dark" },
];

class Checks {
    constructor(browser, book, screenshots) {
        this.browser = browser;
        this.book = book;
        this.screenshots = screenshots;
        this.passed = 0;
        this.failed = 0;
    }

    /** The address of a page of the book. */
    url(page) {
        return pathToFileURL(path.join(this.book, page)).href;
    }

    /** One check, one line. */
    async check(name, body) {
        try {
            await body();
            this.passed += 1;
            console.log(`ok      ${name}`);
        } catch (error) {
            this.failed += 1;
            console.log(`FAILED  ${name}\n    ${error.message.replaceAll("\n", "\n    ")}`);
        }
    }

    /** A reader's browser in one view. */
    async reader(view, more = {}) {
        const { viewport, colorScheme } = view;
        const context = await this.browser.newContext({ viewport, colorScheme, ...more });
        context.setDefaultTimeout(20_000);
        return context;
    }

    /** A window of a new reader. */
    async window(view, more = {}) {
        return this.open(await this.reader(view, more));
    }

    /** A new window of a reader; it notes what the page complains of. */
    async open(context) {
        const page = await context.newPage();
        page.complaints = [];
        page.on("pageerror", (error) => page.complaints.push(`error: ${error.message}`));
        page.on("console", (message) => {
            if (["error", "warning"].includes(message.type())) {
                page.complaints.push(`console: ${message.text()}`);
            }
        });
        page.on("request", (request) => {
            if (!/^(file|data|blob):/.test(request.url())) {
                page.complaints.push(`it asked for ${request.url()}`);
            }
        });
        return page;
    }

    async shoot(page, name) {
        fs.mkdirSync(this.screenshots, { recursive: true });
        await page.screenshot({ path: path.join(this.screenshots, `${name}.png`), fullPage: true });
    }
}

/** The built pages, without the sheet of all pages and the frame for those without scripts. */
function built(book) {
    const found = fs.readdirSync(book, { recursive: true }).filter((name) => name.endsWith(".html"));
    return found.filter((name) => !["print.html", "toc.html"].includes(name)).sort();
}

/** The first page with a card that asks. */
function firstCard(book, names) {
    const asks = (name) => fs.readFileSync(path.join(book, name), "utf8").includes("checkpoint-asks");
    return names.find(asks);
}

async function main([book, screenshots, ...only]) {
    const names = built(book);
    const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
    const browser = await chromium.launch({ executablePath, args: FLAGS });
    const checks = new Checks(browser, book, screenshots);
    try {
        await chrome.check(checks, VIEWS, names);
        await cards.check(checks, VIEWS, firstCard(book, names));
        await pages.check(checks, VIEWS, only.length > 0 ? only : names);
    } finally {
        await browser.close();
    }
    const { passed, failed } = checks;
    console.log(`\ntest result: ${failed ? "FAILED" : "ok"}. ${passed} passed; ${failed} failed; 0 ignored`);
    console.log(`${passed} passed, ${failed} failed`);
    process.exitCode = failed ? 1 : 0;
}

main(process.argv.slice(2)).catch((error) => {
    console.error(error);
    process.exitCode = 1;
});
