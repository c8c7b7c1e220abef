/** Controls Chromium from the system's packages, through playwright-core. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { chromium } from "playwright-core";
import { NotApplicable } from "./case.ts";
import type { Json } from "./http.ts";

const KNOWN_PATHS = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/** Finds the path of a browser, if one is installed. */
const browserPath = (): string | undefined =>
  [process.env.CHROMIUM ?? "", ...KNOWN_PATHS].find((path) => path !== "" && existsSync(path));

/** Finds a browser, or installs the system's package if this user may: the cases need a real browser. */
async function findBrowser(): Promise<string | undefined> {
  if (browserPath() || process.getuid?.() !== 0) return browserPath();
  const apt = (...args: string[]): Promise<boolean> =>
    new Promise((done) => execFile("apt-get", args, { timeout: 240_000 }, (error) => done(error === null)));
  (await apt("install", "-y", "-q", "--no-install-recommends", "chromium")) ||
    ((await apt("update", "-q")) &&
      (await apt("install", "-y", "-q", "--no-install-recommends", "chromium")));
  return browserPath();
}

/**
 * Runs a function in an empty page of another origin. Resolves to its result.
 *
 * @param args further arguments of the browser
 */
export async function inBrowser<A>(
  work: (given: A) => Promise<Json>,
  given: A,
  args: string[] = [],
): Promise<Json> {
  const executablePath = await findBrowser();
  if (!executablePath)
    throw new NotApplicable("no Chromium is installed; `apt-get install chromium`, or set CHROMIUM to one");
  const page = createServer(
    (_, response) =>
      void response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>page</title>"),
  );
  await new Promise<void>((open) => page.listen(0, "127.0.0.1", open));
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", ...args] });
  try {
    const tab = await browser.newPage();
    await tab.goto(`http://127.0.0.1:${(page.address() as AddressInfo).port}/`);
    return await tab.evaluate(work as never, given);
  } finally {
    await browser.close();
    page.closeAllConnections();
    page.close();
  }
}
