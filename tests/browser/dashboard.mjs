// What a person with a browser sees of the dashboard. Started by tests/e2e/dashboard/browser.rs with the address of a real
// proxy; it asks the test for what is to happen in the proxy by a line on standard output, and waits until the page shows it.
//
// From the environment: MODULES (a node_modules with playwright-core and axe-core), CHROMIUM, BASE, TOKEN, SHOTS (a folder).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { MODULES, CHROMIUM, BASE, TOKEN, SHOTS } = process.env;
const { chromium } = createRequire(join(MODULES, "of.js"))("playwright-core");
const axe = readFileSync(join(MODULES, "axe-core", "axe.min.js"), "utf8");

const ask = (what) => console.log(`please: ${what}`);
const WIDE = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const complaints = [];
let expected = /^$/;

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });

async function open(options) {
  const context = await browser.newContext({ viewport: WIDE, colorScheme: "light", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("console", (message) => {
    const text = `${message.type()}: ${message.text()} ${message.location().url}`;
    if (["error", "warning"].includes(message.type()) && !expected.test(text)) complaints.push(text);
  });
  page.on("pageerror", (error) => complaints.push(`exception: ${error}`));
  await page.goto(BASE);
  return page;
}

async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const told = violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`);
  assert.deepEqual(told, [], what);
}

async function shoot(page, name) {
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

const live = (page, slot) => page.locator(`#shop-${slot}.live`).waitFor();

async function seesAPromote(page) {
  await page.locator('#state[data-state="live"]').waitFor();
  // What the reader holds must stay in the hand.
  await page.locator("#shop-table summary").click();
  await page.locator("#shop-title a").focus();
  ask("promote green");
  await live(page, "green");
  await page.locator("#news", { hasText: "green is live" }).waitFor({ state: "attached" });
  await page.locator("#shop-requests .switch.green").waitFor({ state: "attached" });
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "shop");
  assert.ok(await page.locator("#shop-table").evaluate((table) => table.open), "the table stays open");
  assert.equal(await page.evaluate(() => performance.getEntriesByType("navigation").length), 1);
  await page.locator("#shop-table summary").click();
}

async function tabTo(page, text) {
  for (let presses = 0; presses < 60; presses++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((text) => document.activeElement.textContent.startsWith(text), text)) return;
  }
  assert.fail(`the keyboard does not reach ${text}`);
}

async function actsByKeyboard(page) {
  await tabTo(page, "Roll back to blue");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/apps/shop/promote/blue");
  await accessible(page, "the confirmation");
  await shoot(page, "confirm");
  expected = /403/;
  await page.keyboard.type("not-the-token-at-all");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").filter({ hasText: "This is not the token" }).waitFor();
  const status = await page.evaluate(async () => (await fetch("/v1/status")).json());
  assert.equal(status.apps.shop.active, "green", "a wrong token changes nothing");
  await shoot(page, "refused");
  await accessible(page, "the refusal");
  assert.equal(await page.evaluate(() => document.activeElement.id), "token");
  await page.keyboard.type(TOKEN);
  await page.keyboard.press("Enter");
  await page.waitForURL(`${BASE}/#shop`);
  await live(page, "blue");
}

async function followsAnUpgrade(page) {
  const process = await page.locator("#foot").getAttribute("data-process");
  expected = /ERR_|CONNECTION/;
  ask("upgrade");
  await page.locator(`#foot:not([data-process="${process}"])`).waitFor();
  await page.locator('#state[data-state="live"]').waitFor();
  expected = /^$/;
}

async function comesBack(page) {
  expected = /ERR_|404|503|CONNECTION/;
  ask("stop");
  await page.locator('#state[data-state="lost"]', { hasText: "Disconnected" }).waitFor();
  await shoot(page, "disconnected");
  ask("start");
  await page.locator('#state[data-state="live"]').waitFor();
  expected = /^$/;
}

async function tellsTheSameWithoutScript() {
  const [with_, without] = [await open({}), await open({ javaScriptEnabled: false })];
  await with_.locator('#state[data-state="live"]').waitFor();
  // Times pass and visitors come and go; everything else is the same.
  const facts = async (page) =>
    (await page.locator("#shop .slots").innerText())
      .replace(/in [\d.]+ ms, \d+ s ago/g, "")
      .replace(/\s+/g, " ")
      .replace(/(Requests|Uploads|Streams|Websockets) \d+/g, "$1");
  assert.equal(await facts(without), await facts(with_));
  await without.getByRole("link", { name: "Refresh" }).waitFor();
  await without.getByRole("link", { name: "Promote green" }).or(without.getByRole("link", { name: "Roll back to green" })).click();
  await without.getByLabel("Token").fill(TOKEN);
  await without.locator("button[type=submit]").click();
  await live(without, "green");
}

async function everywhere() {
  for (const colorScheme of ["light", "dark"]) {
    for (const [width, viewport] of [["wide", WIDE], ["phone", PHONE]]) {
      const page = await open({ colorScheme, viewport });
      await page.locator('#state[data-state="live"]').waitFor();
      await accessible(page, `${colorScheme}, ${width}`);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(over <= 0, `${width}: ${over} pixels too wide`);
      await shoot(page, `${colorScheme}-${width}`);
      await page.context().close();
    }
  }
}

try {
  const page = await open({});
  await accessible(page, "the front page");
  await seesAPromote(page);
  await actsByKeyboard(page);
  await everywhere();
  await followsAnUpgrade(page);
  await comesBack(page);
  await tellsTheSameWithoutScript();
  assert.deepEqual(complaints, []);
  console.log("done");
} finally {
  await browser.close();
}
