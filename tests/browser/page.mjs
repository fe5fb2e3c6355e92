// Looks at the status page in headless Chromium: BASE ID ADDRESS FOLDER. Ends with 1 and says what is wrong.
import { createRequire } from 'node:module';
import { readFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const modules = process.env.AUTHRELAY_PAGE_MODULES;
const require = createRequire(join(modules, 'page.cjs'));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const [base, id, address, folder] = process.argv.slice(2);
const paths = {
  overview: '/', decisions: '/decisions', trouble: '/decisions?show=trouble', queue: '/queue?state=held',
  observed: '/observed', message: `/message/${id}`, nothing: '/message/019a9e4c-5d6e-7f80-9a1b-2c3d4e5f6071',
};
const wrong = [];
const check = (holds, what) => { if (!holds) wrong.push(what); };

const profile = mkdtempSync(join(tmpdir(), 'authrelay-page-'));
const browser = await chromium.launch({
  executablePath: process.env.AUTHRELAY_CHROMIUM,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', `--disk-cache-dir=${profile}`],
});

// Everything that a page does, in one picture of each size and scheme.
async function look(name, path, scheme, width) {
  const where = `${name}, ${scheme}, ${width} px`;
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 } });
  const page = await context.newPage();
  page.on('console', (line) => {
    // The page that says that nothing is known is a 404, which the console repeats.
    if (!line.text().includes('404')) wrong.push(`${where}: console: ${line.text()}`);
  });
  page.on('dialog', (dialog) => { wrong.push(`${where}: a dialog`); dialog.dismiss(); });
  page.on('request', (request) => {
    check(request.url().startsWith(base) || request.url().startsWith('data:'), `${where}: asks for ${request.url()}`);
  });
  await page.goto(base + path);
  check((await page.title()).includes('authrelay on relay.test'), `${where}: title ${await page.title()}`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  check(over <= 0, `${where}: ${over} px too wide`);
  const inner = await page.evaluate(() => [...document.querySelectorAll('section, article')]
    .filter((part) => part.scrollWidth > part.clientWidth + 1).map((part) => part.innerText.slice(0, 60)));
  check(inner.length === 0, `${where}: has to be moved sideways: ${inner}`);
  const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const scripts = await page.evaluate(() => document.scripts.length);
  check(scripts === 0, `${where}: ${scripts} scripts`);
  await page.screenshot({ path: join(folder, `${name}-${scheme}-${width}.png`), fullPage: true });
  await context.close();
  return ground;
}

async function accessible(name, path, scheme, width) {
  // Only axe itself needs the policy out of its way.
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 }, bypassCSP: true });
  const page = await context.newPage();
  await page.goto(base + path);
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run());
  for (const rule of found.violations) {
    wrong.push(`${name}, ${scheme}, ${width} px: axe ${rule.id}: ${rule.help}: ${rule.nodes[0].html.slice(0, 200)}`);
  }
  await context.close();
}

// With the keyboard alone, and without scripts: the skip link, the search, and where it leads.
async function keyboard() {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(base + '/');
  await page.keyboard.press('Tab');
  const skip = await page.locator('a.skip').boundingBox();
  check(skip !== null && skip.x >= 0, 'the skip link is not seen when it has the focus');
  await page.locator('#q').focus();
  await page.keyboard.type(address);
  await page.keyboard.press('Enter');
  await page.waitForURL('**/recipient/*');
  check(!page.url().includes(address.split('@')[0]), `the address is in ${page.url()}`);
  const heading = await page.locator('h1').innerText();
  check(heading.startsWith('Messages for a***@'), `the search leads to ${heading}`);
  await page.getByRole('link', { name: 'Overview' }).click();
  await page.waitForURL(base + '/');
  await page.goBack();
  check(page.url().includes('/recipient/'), 'one can go back to what was found');
  check((await page.locator('h1').innerText()) === heading, 'what was found is there again');
  await context.close();
}

let pictures = 0;
for (const [name, path] of Object.entries(paths)) {
  for (const width of [1280, 380]) {
    const light = await look(name, path, 'light', width);
    const dark = await look(name, path, 'dark', width);
    check(light !== dark, `${name}: light and dark look the same, ${light}`);
    await accessible(name, path, 'light', width);
    await accessible(name, path, 'dark', width);
    pictures += 2;
  }
}
await keyboard();
await browser.close();
rmSync(profile, { recursive: true, force: true });
console.log(`${pictures} pages were looked at`);
for (const line of wrong) console.log(line);
process.exit(wrong.length > 0 ? 1 : 0);
