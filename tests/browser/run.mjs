// Opens the HTML reports of a folder in a headless Chromium, from disk, and holds what they show against the JSON in them.
// Takes the folder (tests/it/report_page.rs writes it) and one for screenshots; FACELEDGER_CHROMIUM is the browser.
// Exits 1 and says what is wrong. With `--large ROWS` it makes a report of so many rows and times it instead.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [folder, screenshots] = process.argv.slice(2);
const large = process.argv.includes("--large") ? Number(process.argv[process.argv.indexOf("--large") + 1]) : 0;
const DATA = /(<script type="application\/json" id="data">)([\s\S]*?)(<\/script>)/;
const path = (name) => join(folder, name);
const dataOf = (name) => JSON.parse(readFileSync(path(name), "utf8").match(DATA)[2]);

// Amounts as hundred-millionths, counted apart from the page's own code.
const units = (text) => { const [, sign, whole, part] = text.match(/^(-?)(\d+)\.?(\d*)$/); return BigInt(sign + whole + part.padEnd(8, "0")); };
// "1,234.50" and "−3" as the page shows them.
const shown = (text) => units(text.replaceAll(",", "").replace("−", "-").replace("+", ""));
const shownCount = (text) => Number(text.replaceAll(",", "").replace("−", "-").replace("+", ""));

// A name without a folder is looked up in PATH.
const named = process.env.FACELEDGER_CHROMIUM || "chromium";
const executablePath = named.includes("/") ? named : process.env.PATH.split(delimiter).map((folder) => join(folder, named)).find(existsSync);

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});
const complaints = [];
async function open(name, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", colorScheme: "light", ...options });
  const page = await context.newPage();
  const url = pathToFileURL(path(name)).href;
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) complaints.push(`${name}: console: ${m.text()}`); });
  page.on("pageerror", (e) => complaints.push(`${name}: ${e}`));
  page.on("dialog", (d) => { complaints.push(`${name}: a dialog: ${d.message()}`); d.dismiss(); });
  page.on("request", (r) => { if (r.url().split("#")[0] !== url) complaints.push(`${name}: asked for ${r.url()}`); });
  await page.goto(url);
  await page.waitForSelector("main section");
  return page;
}
const picture = (page, name, fullPage = true) => page.screenshot({ path: join(screenshots, name + ".png"), fullPage });
const texts = (page, selector) => page.locator(selector).allTextContents();
const number = async (page, id) => shownCount(await page.locator(`[data-n="${id}"]`).textContent());

// The page's policy forbids what Playwright's own waitForFunction does (eval in the page).
async function until(page, holds, given) {
  for (let n = 0; n < 100; n++) {
    if (await page.evaluate(holds, given)) return;
    await new Promise((again) => setTimeout(again, 50));
  }
  assert.fail(`after 5 s it does not hold: ${holds}, ${JSON.stringify(given)}`);
}

async function numbers() {
  const data = dataOf("month.html"), page = await open("month.html");
  const days = [...new Set(data.rows.map((r) => r.period))].filter((p) => p.length === 10).sort();
  // One group a day, one bar for each tag with charges, and each as high as its count.
  assert.deepEqual(await page.$$eval('[data-chart="days"] g[data-period]', (gs) => gs.map((g) => g.dataset.period)), days, "days of the chart");
  const bars = await page.$$eval('[data-chart="days"] rect[data-tag]', (rects) => rects.map((r) => [r.parentNode.dataset.period, r.dataset.tag, Number(r.dataset.count), Number(r.getAttribute("height"))]));
  const charged = data.rows.filter((r) => r.period.length === 10 && r.ours_charged > 0);
  assert.equal(bars.length, charged.length, "a bar for each tag and day with charges");
  const high = bars[0][3] / bars[0][2];
  for (const [period, tag, count, height] of bars) {
    const row = charged.find((r) => r.period === period && r.billing_tag === tag);
    assert.equal(count, row?.ours_charged, `${period} ${tag}`);
    assert.ok(Math.abs(height - count * high) < 0.6, `${period} ${tag}: as high as its count`);
  }
  const billed = await page.$$eval('[data-chart="days"] g[data-period]', (gs) => gs.map((g) => Number(g.dataset.bill)));
  assert.deepEqual(billed, days.map((d) => data.rows.filter((r) => r.period === d).reduce((n, r) => n + (r.provider_calls ?? 0), 0)), "the bill's line");
  assert.equal(await page.locator('[data-chart="days"] line.tick').count(), days.filter((d) => data.rows.some((r) => r.period === d && r.provider_calls !== null)).length);
  // The monthly tag is drawn apart.
  assert.equal(await page.locator('[data-chart="months"] g[data-period]').count(), 1);

  const cells = await page.$$eval("#heat button[data-cell]", (bs) => bs.map((b) => [b.dataset.tag, b.dataset.period, Number(b.dataset.difference)]));
  assert.equal(cells.length, new Set(data.rows.map((r) => r.billing_tag + "\n" + r.period)).size, "cells of the heat map");
  for (const [tag, period, difference] of cells) {
    const counts = (r) => !["matched", "covered_by_package", "pending"].includes(r.status);
    assert.equal(difference, data.rows.filter((r) => r.billing_tag === tag && r.period === period && counts(r)).reduce((n, r) => n + r.difference, 0), `${tag} ${period}`);
  }

  assert.equal(await number(page, "ours"), data.rows.reduce((n, r) => n + r.ours_charged, 0));
  assert.equal(await number(page, "bill"), data.rows.reduce((n, r) => n + (r.provider_calls ?? 0), 0));
  for (const total of data.totals) {
    const cellsOf = (await texts(page, `#totals tr[data-status="${total.status}"] td.num`)).map(shownCount);
    assert.deepEqual(cellsOf, [total.rows, total.ours_charged, total.provider_calls, total.difference], total.status);
  }
  for (const key of ["expected_cost", "bill_cost", "bill_rounding", "expected_rounding"]) {
    assert.equal(shown(await page.locator(`#money [data-n="${key}"]`).textContent()), units(data.money[key]), key);
  }
  const tags = [...new Set(data.money.waterfall.map((w) => w.billing_tag))];
  assert.equal(await page.locator("#waterfall tbody tr").count(), tags.length);
  for (const tag of tags) {
    const of = data.money.waterfall.filter((w) => w.billing_tag === tag);
    const row = page.locator("#waterfall tbody tr", { has: page.locator(`td:first-child`, { hasText: tag }) }).first();
    const found = await row.locator("td.num").allTextContents();
    assert.deepEqual(found.slice(0, 4).map(shownCount), ["calls", "free_package", "paid_package", "postpaid"].map((k) => of.reduce((n, w) => n + w[k], 0)), tag);
    // Of the rows that have a price.
    const known = (k) => of.filter((w) => w[k] !== null && w.expected_cost !== null), sum = (k) => known(k).reduce((n, w) => n + units(w[k]), 0n);
    for (const [i, key] of [[7, "expected_cost"], [8, "bill_cost"], [9, "difference_cost"]]) {
      if (known(key).length) assert.equal(shown(found[i]), sum(key), `${tag} ${key}`);
      else assert.equal(found[i], "–");
    }
  }
  const packages = await page.$$eval("#packages tbody tr", (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
  assert.deepEqual(packages.map((cells) => cells.slice(3, 6)), data.money.packages.map((p) => [p.bought_on, p.expires_on, p.refunded_on ?? "–"]));
  assert.deepEqual(packages.map((cells) => cells.slice(6).map(shownCount)), data.money.packages.map((p) => [p.size, p.used_before, p.used, p.left]));
  // The sum of the table is that of the headline and the cards.
  const foot = await page.locator("#waterfall tfoot td.num").allTextContents();
  const inAll = foot.slice(7, 10).map(shown);
  assert.deepEqual(foot.slice(17, 19).map(shown), [units(data.money.expected_rounding), units(data.money.bill_rounding)]);
  assert.deepEqual(inAll.slice(0, 2), [units(data.money.expected_cost), units(data.money.bill_cost)]);
  assert.equal(inAll[2], shown(await page.locator('[data-n="cost"]').textContent()), "the difference in yuan");
  const steps = await page.$$eval('[data-chart="waterfall"] rect[data-step]', (rs) => Object.fromEntries(rs.map((r) => [r.dataset.step, r.dataset.count])));
  assert.equal(BigInt(steps.calls), BigInt(steps.free_package) + BigInt(steps.paid_package) + BigInt(steps.postpaid));
  for (const key of ["agree", "flag_differs", "day_differs", "ours_only", "provider_only"]) assert.equal(await number(page, key), data.seqs[key], key);
  for (const key of ["checked", "charged_against_rule", "free_against_rule", "no_table", "not_listed"]) assert.equal(await number(page, key), data.audit[key], key);
  assert.equal(shown(await page.locator('#audit [data-n="overcharge"]').textContent()), units(data.audit.overcharge));
  assert.match(await page.locator("#overcharge-note").textContent(), /postpaid prices of the price book, before packages/);
  assert.match(await page.locator("#overcharge-unpriced").textContent(), /: 1,/);
  // The list is of WeChat alone: unexplained calls of other tags are to be asked for, not sent with it.
  const wants = (listed) => data.rows.some((row) => row.listed === listed && row.parts.some((part) => part.kind === "unexplained" && part.count !== 0));
  const next = (await page.locator("#overview .steps li").allTextContents()).join("\n");
  assert.equal(next.includes("Ask the provider for its list per Seq"), wants(false), "asks for a list");
  assert.equal(next.includes("and the provider's own list of these days"), wants(true), "sends the list");
  const groups = await page.$$eval("#join button[data-group]", (bs) => bs.reduce((n, b) => n + Number(b.dataset.count), 0));
  assert.equal(groups, data.seqs.groups.filter((g) => g.status !== "agree").reduce((n, g) => n + g.count, 0), "groups of the join");
  assert.equal(await page.locator("#files tbody tr").count(), data.bill.files.length);
  const say = await page.locator(".say").textContent();
  assert.match(say, /56 calls more in some rows and 69 fewer in others, and asks 0\.64000001 yuan more/);
  // A label that would be markup is text.
  assert.equal(await page.locator("img").count(), 0);
  assert.ok((await texts(page, "#heat tbody th")).includes("<img src=x onerror=alert(1)>"));
  await picture(page, "month-light-en");
  await page.context().close();
}

async function use() {
  const data = dataOf("month.html"), page = await open("month.html");
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  const rows = () => page.locator("#list tbody > tr[data-row]");
  const differing = data.rows.filter((r) => !["matched", "covered_by_package", "pending"].includes(r.status) || (r.status !== "pending" && units(r.provider_cost ?? "0") !== units(r.expected_cost)));
  assert.equal(await rows().count(), differing.length, "differences at first");
  // The month's calls agree, and its money does not.
  const dear = page.locator("#list tr[data-row]", { hasText: "Calls agree, money differs" });
  assert.equal(await dear.count(), 1);
  assert.equal(await dear.locator(".chip.bad").count(), 1);
  await dear.locator("button").click();
  assert.match(await page.locator("#list tr.detail").textContent(), /no Seq makes this difference/);
  await dear.locator("button").click();
  // Biggest first, then by what is asked for, and turned round.
  const column = async (n) => (await texts(page, `#list tbody > tr[data-row] td:nth-child(${n})`)).map(shownCount);
  const sizes = (await column(6)).map(Math.abs);
  assert.deepEqual(sizes, [...sizes].sort((a, b) => b - a), "biggest first");
  await page.click('#list [data-sort="difference"]');
  let found = await column(6);
  assert.deepEqual(found, [...found].sort((a, b) => b - a));
  await page.click('#list [data-sort="difference"]');
  found = await column(6);
  assert.deepEqual(found, [...found].sort((a, b) => a - b));
  assert.equal(await page.locator('#list th[aria-sort="ascending"]').count(), 1);
  // Each status, by the list's own filter.
  for (const status of new Set(data.rows.map((r) => r.status))) {
    await page.selectOption("#f-status", status);
    const n = data.rows.filter((r) => r.status === status).length;
    assert.equal(await rows().count(), Math.min(n, 50), status);
    assert.match(await page.locator("#list .pager span").textContent(), new RegExp(`of ${n}$`));
  }
  await page.selectOption("#f-status", "rows");
  await page.click('#list [data-go="next"]');
  assert.match(await page.locator("#list .pager span").textContent(), new RegExp(`^51–100 of ${data.rows.length}$`));
  await page.click("#f-clear");
  // By a cell of the heat map, with the keyboard: the list shows the row.
  await page.locator('#heat button[data-period="2024-11-09"][data-difference="41"]').focus();
  assert.match(await page.locator("#tip").textContent(), /\+41/);
  await page.keyboard.press("Enter");
  assert.equal(await rows().count(), 1);
  await page.locator("#list tr[data-row] button").click();
  const parts = await page.$$eval("#list .part", (ps) => ps.map((p) => [p.dataset.part, p.querySelector("b").textContent]));
  const ninth = data.rows.find((r) => r.period === "2024-11-09" && r.difference === 41);
  assert.deepEqual(parts.map(([kind, n]) => [kind, shownCount(n)]), ninth.parts.map((p) => [p.kind, p.count]), "parts");
  assert.equal(parts.reduce((n, [, c]) => n + shownCount(c), 0), 41, "parts add up");
  await picture(page, "detail", false);
  // All the Seqs of a part, and the command for one.
  await page.locator('#list [data-part="duplicate"] .head button').click();
  const duplicate = ninth.parts.find((p) => p.kind === "duplicate");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), duplicate.seqs.join("\n"), "copied Seqs");
  assert.equal(await page.locator('#list [data-part="duplicate"] li').count(), 10);
  await page.locator('#list [data-part="duplicate"] > button', { hasText: "Show 20 more" }).click();
  assert.equal(await page.locator('#list [data-part="duplicate"] li').count(), 30);
  await page.locator('#list [data-part="duplicate"] li button', { hasText: "Explain" }).first().click();
  assert.equal(await page.locator("#list code.cmd").textContent(), `faceledger explain 'pipelines/face id.toml' ${duplicate.seqs[0]}`);
  // A day of the chart, by the keyboard; a tag by the legend.
  await page.click("#f-clear");
  await page.locator('[data-chart="days"] g[tabindex="0"]').focus();
  for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#f-period").inputValue(), "2024-11-04");
  assert.equal(await rows().count(), 1);
  await page.click("#f-clear");
  const tag = data.rows[0].billing_tag;
  await page.locator(`#charges .legend button`, { hasText: tag }).click();
  assert.equal(await page.locator("#f-tag").inputValue(), tag);
  assert.equal(new Set(await page.$$eval('[data-chart="days"] rect[data-tag]', (rs) => rs.map((r) => r.dataset.tag))).size, 1);
  await page.click("#f-clear");
  // The text filter keeps the cursor and finds Seqs too.
  await page.locator("#f-text").pressSequentially("2024-11-14");
  await until(page, () => document.querySelectorAll("#list tbody > tr[data-row]").length === 1);
  assert.equal(await page.evaluate(() => document.activeElement.id), "f-text");
  await page.click("#f-clear");
  // Every Seq that stands in the report is found.
  const anywhere = [...data.rows.flatMap((r) => r.parts.flatMap((p) => p.seqs)), ...data.seqs.differences.map((d) => d.seq), ...data.audit.findings.map((f) => f.seq)];
  for (const seq of [duplicate.seqs[5], data.seqs.differences[77].seq, data.audit.findings[0].seq, data.audit.findings[4].seq]) {
    await page.fill("#q-seq", seq);
    const n = anywhere.filter((s) => s.includes(seq)).length;
    await until(page, ([seq, n]) => [...document.querySelectorAll("#found td.mono")].filter((td) => td.textContent.startsWith(seq)).length === n, [seq, n]);
  }
  await page.fill("#q-seq", "no-such-seq");
  await until(page, () => /does not stand in this report/.test(document.querySelector("#found").textContent));
  await page.fill("#q-seq", duplicate.seqs[0]);
  await page.locator("#found button", { hasText: "Show" }).first().click();
  assert.equal(await rows().count(), 1);
  // The join: a cell of rule and hour, a status.
  await page.locator("#join button[data-group]").first().click();
  const group = Number(await page.locator("#join button[data-group]").first().getAttribute("data-count"));
  assert.equal(await page.locator("#join tbody td.wrap.mono, #join table:not(.heat) tbody tr").count(), group);
  await page.locator("#join .filters button", { hasText: "Clear" }).click();
  await page.selectOption("#j-status", "day_differs");
  assert.equal(await page.locator("#join table:not(.heat) tbody tr").count(), data.seqs.differences.filter((d) => d.status === "day_differs").length);
  await page.context().close();
}

// What the page shows of background and text, in numbers.
const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
async function looks() {
  const page = await open("month.html");
  const light = await ground(page);
  await page.click("#theme"); await page.click("#theme");
  assert.equal(await page.getAttribute("html", "data-theme"), "dark");
  const dark = await ground(page);
  assert.notEqual(dark, light);
  await picture(page, "month-dark-en");
  await page.click("#language");
  assert.equal(await page.getAttribute("html", "lang"), "zh-CN");
  assert.ok((await texts(page, ".warn")).some((told) => /^2024-11 不完整：.*2024-11-30 的账单尚未出具/.test(told)), "a warning in Chinese");
  assert.match(await page.locator(".say").textContent(), /账单在部分行多计 56 次，在其他行少计 69 次，金额比预期多 0\.64000001 元/);
  await picture(page, "month-dark-zh");
  await page.context().close();
  // The language of the browser, and the theme of the system.
  const chinese = await open("month.html", { locale: "zh-CN", colorScheme: "dark" });
  assert.equal(await chinese.getAttribute("html", "lang"), "zh-CN");
  assert.equal(await ground(chinese), dark);
  assert.deepEqual((await texts(chinese, "section h2, section h3, th, .bar button, label")).filter((x) => /^[a-z]+(_[a-z]+)+$/.test(x)), [], "codes without words");
  await chinese.click("#theme");
  assert.equal(await ground(chinese), light, "light by the switch on a dark system");
  await picture(chinese, "month-light-zh");
  await chinese.context().close();
  // Nothing is wider than a narrow screen but what scrolls in itself.
  for (const [locale, name] of [["en-GB", "narrow-en"], ["zh-CN", "narrow-zh"]]) {
    const narrow = await open("month.html", { viewport: { width: 360, height: 740 }, locale });
    assert.ok(await narrow.evaluate(() => document.documentElement.scrollWidth) <= 360, "as wide as the screen");
    await picture(narrow, name);
    await narrow.context().close();
  }
  // Printed: light whatever the theme, lists unfolded, no tools, as wide as A4.
  const printed = await open("month.html", { viewport: { width: 720, height: 1000 }, colorScheme: "dark" });
  await printed.emulateMedia({ media: "print" });
  await printed.waitForSelector("#list tr.detail");
  assert.equal(await ground(printed), "rgb(255, 255, 255)");
  assert.equal(await printed.locator("#theme").isVisible(), false);
  assert.equal(await printed.locator("#list tr.detail").count(), await printed.locator("#list tbody > tr[data-row]").count());
  assert.ok(await printed.evaluate(() => document.documentElement.scrollWidth) <= 720, "as wide as the paper");
  // Sums once, at the end of a table that goes over several pages.
  assert.equal(await printed.evaluate(() => getComputedStyle(document.querySelector("#waterfall tfoot")).display), "table-row-group");
  await picture(printed, "print");
  await printed.pdf({ path: join(screenshots, "print.pdf"), format: "A4", preferCSSPageSize: true });
  await printed.emulateMedia({ media: "screen" });
  await until(printed, () => !document.querySelector("#list tr.detail"));
  await printed.context().close();
}

// WCAG 2: relative luminance, and the ratio of two colours.
const luminance = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };

// Every number of a card in one line and in its card, every link of the menu on the screen; every text stands out.
async function fits() {
  for (const colorScheme of ["light", "dark"]) for (const locale of ["en-GB", "zh-CN"]) for (const width of [1280, 800, 360]) {
    const page = await open("costly.html", { viewport: { width, height: 900 }, locale, colorScheme }), where = `${colorScheme} ${locale} ${width}`;
    assert.deepEqual(await page.$$eval(".card .n", (ns) => ns.filter((n) => n.scrollWidth > n.clientWidth || n.clientHeight > 1.5 * parseFloat(getComputedStyle(n).lineHeight)).map((n) => n.textContent)), [], `numbers that do not fit: ${where}`);
    assert.deepEqual(await page.$$eval(".bar a, .bar button, .bar h1", (as) => as.filter((a) => a.getBoundingClientRect().right > innerWidth || a.getBoundingClientRect().left < 0).map((a) => a.textContent)), [], `what of the bar is off the screen: ${where}`);
    assert.ok(await page.evaluate(() => document.querySelector(".bar nav").scrollWidth <= document.querySelector(".bar nav").clientWidth), `the menu is cut: ${where}`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= width, `wider than the screen: ${where}`);
    const colours = await page.evaluate(() => {
      const parts = (c) => c.match(/[\d.]+/g).map(Number), found = new Map();
      for (const element of document.querySelectorAll("#app *")) {
        if (![...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || element.closest("svg, :disabled, .sr, [hidden]")) continue;
        let under = element;
        while (under && (parts(getComputedStyle(under).backgroundColor)[3] ?? 1) === 0) under = under.parentElement;
        const pair = [getComputedStyle(element).color, getComputedStyle(under ?? document.body).backgroundColor];
        found.set(pair.join(" on "), { text: parts(pair[0]), ground: parts(pair[1]), example: element.textContent.slice(0, 40) });
      }
      return [...found];
    });
    assert.ok(colours.length > 5, `colours of texts: ${where}`);
    for (const [pair, { text, ground, example }] of colours) assert.ok(contrast(text, ground) >= 4.5, `${pair}, ${where}: ${contrast(text, ground).toFixed(2)} in "${example}"`);
    if (locale === "en-GB") await picture(page, `costly-${colorScheme}-${width}`, false);
    await page.context().close();
  }
}

async function others() {
  const nothing = await open("nothing.html");
  assert.match(await nothing.locator(".say").textContent(), /Nothing to compare/);
  assert.equal(await nothing.locator(".empty").count() >= 6, true);
  await picture(nothing, "nothing");
  await nothing.context().close();
  const right = await open("right.html");
  assert.match(await right.locator(".say").textContent(), /The bill is right/);
  assert.match(await right.locator("#list .empty").textContent(), /No differences/);
  assert.match(await right.locator("#money .empty").textContent(), /No price book/);
  assert.match(await right.locator("#join .empty").textContent(), /No provider list/);
  await picture(right, "right");
  await right.context().close();
  const beside = await open("beside.html");
  assert.match(await beside.locator(".say").textContent(), /The bill is not shown to be right: all of 1 row agree/);
  assert.match(await beside.locator("#overview").textContent(), /2 lines whose transaction is not known: −1\.20 yuan, and 3\.20 yuan without regard to sign/);
  assert.match(await beside.locator("#overview").textContent(), /Without a price: .* \(2\.50 yuan on the bill\)/);
  assert.match(await beside.locator('#money [data-n="bill_cost_unpriced"]').textContent(), /2\.5/);
  assert.equal(await beside.locator('[data-n="expected_cost"], [data-n="cost"]').count(), 0);
  await picture(beside, "beside");
  await beside.context().close();
  const pending = await open("pending.html");
  assert.match(await pending.locator(".say").textContent(), /not out yet/);
  await pending.context().close();
}

// A report of so many rows, from that of the month: 31 days, 20 tags, as many accounts as it takes.
function enlarge(rows) {
  const data = dataOf("month.html"), made = [];
  const like = data.rows.find((r) => r.status === "provider_more"), statuses = ["matched", "provider_more", "ours_more", "matched"];
  for (let i = 0; i < rows; i++) {
    const status = statuses[i % 4], by = status === "matched" ? 0 : (i * 7919) % 90 * (status === "ours_more" ? -1 : 1);
    made.push({ ...like, account: String(100000000000 + Math.floor(i / 620)), period: `2024-10-${String(i % 31 + 1).padStart(2, "0")}`, billing_tag: `tag ${Math.floor(i / 31) % 20}`, status, ours_charged: 1000 + i % 777, provider_calls: 1000 + i % 777 + by, difference: by,
      provider_cost: "900.5", expected_cost: "900.5", parts: by ? [{ kind: "unexplained", count: by, seqs: [`big-${i}-a`, `big-${i}-b`], seqs_total: 2, source_keys: [] }] : [] });
  }
  data.rows = made; data.money.waterfall = []; data.over_tolerance = made.filter((r) => r.difference).length;
  const page = readFileSync(path("month.html"), "utf8"), json = JSON.stringify(data).replace(/</g, "\\u003c");
  writeFileSync(path("large.html"), page.replace(DATA, (_, before, __, after) => before + json + after));
}
async function quick(rows, most) {
  enlarge(rows);
  const times = {}, timed = async (name, work) => { const from = Date.now(); await work(); times[name] = Date.now() - from; };
  let page;
  await timed("open", async () => { page = await open("large.html"); });
  await timed("sort", () => page.click('#list [data-sort="cost"]'));
  await timed("status", () => page.selectOption("#f-status", "rows"));
  await timed("tag", () => page.selectOption("#f-tag", "tag 7"));
  await timed("cell", () => page.locator('#heat button[data-cell][data-tag="tag 3"]').nth(9).click());
  await timed("search", async () => { await page.fill("#q-seq", `big-${rows - 3}-b`); await page.waitForSelector("#found td.mono"); });
  await timed("language", () => page.click("#language"));
  assert.ok(await page.locator("#list tbody > tr[data-row]").count() <= 50);
  if (screenshots && rows <= 5000) await picture(page, "large", false);
  console.log(`${rows} rows, milliseconds: ${JSON.stringify(times)}`);
  for (const [name, ms] of Object.entries(times)) assert.ok(ms < most, `${rows} rows: ${name} took ${ms} ms`);
  await page.context().close();
}

try {
  if (large) await quick(large, 60000);
  else {
    await numbers();
    await use();
    await looks();
    await fits();
    await others();
    // A loose bound, for machines that do other things too: a page that hangs takes much longer.
    await quick(5000, 15000);
  }
  assert.deepEqual(complaints, [], "no complaints of the browser, no requests");
  console.log("the report works");
} finally {
  await browser.close();
}
