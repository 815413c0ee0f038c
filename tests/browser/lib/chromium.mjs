// Real Chromium with a made-up camera, microphone and screen.

import { readFile } from 'node:fs/promises';

import { chromium } from 'playwright-core';

const ARGUMENTS = [
  '--use-fake-ui-for-media-stream',
  // Two cameras, and between them one of depth (16 bit grey), of which a peer connection sends nothing;
  // enough frames to look at, and three encoders of them still fit a small machine.
  '--use-fake-device-for-media-stream=device-count=3,fps=20',
  '--auto-select-desktop-capture-source=Entire screen',
  '--autoplay-policy=no-user-gesture-required',
  // Audio is played (a muted element would not decode it) and not heard.
  '--mute-audio',
  // Without it there is no candidate for 127.0.0.1.
  '--allow-loopback-in-peer-connection',
  '--disable-features=LocalNetworkAccessChecks',
  '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost',
];

export class Chromium {
  static async start() {
    const browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: ARGUMENTS,
    });
    return new Chromium(browser, await readFile(new URL('./in-page.js', import.meta.url), 'utf8'));
  }

  #script;

  constructor(browser, script) {
    this.browser = browser;
    this.#script = script;
  }

  /** Someone with a browser of their own: storage and permissions are not shared. */
  async person() {
    const context = await this.browser.newContext({ permissions: ['camera', 'microphone'] });
    await context.addInitScript(this.#script);
    const page = await context.newPage();
    return new Person(context, page);
  }

  /** The process group that all of the browser's processes are in. */
  async processGroup() {
    const devtools = await this.browser.newBrowserCDPSession();
    const { processInfo } = await devtools.send('SystemInfo.getProcessInfo');
    return processInfo.find(({ type }) => type === 'browser').id;
  }

  stop() {
    return this.browser.close();
  }
}

/** A tab, with what it logged and what its peer connections send and receive. */
export class Person {
  log = [];

  constructor(context, page) {
    this.context = context;
    this.page = page;
    page.on('console', message => this.log.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', error => this.log.push(`uncaught: ${error.stack}`));
  }

  async open(url) {
    await this.page.goto(url);
    return this;
  }

  /** What is received at this moment, one per stream that has had packets. */
  received(kind) {
    return this.page.evaluate(kind => globalThis.media.received(kind), kind);
  }

  /** What is sent at this moment, one per encoding. */
  sent(kind) {
    return this.page.evaluate(kind => globalThis.media.sent(kind), kind);
  }

  /**
   * Makes the connections worse that are made from now on: so many percent of packets are lost, in both
   * directions. Chromium does that only to a link which is slower, too.
   */
  async suffer(packetLoss, latency = 20) {
    const devtools = await this.context.newCDPSession(this.page);
    await devtools.send('Network.enable');
    const unlimited = { offline: false, downloadThroughput: -1, uploadThroughput: -1 };
    await devtools.send('Network.emulateNetworkConditions', { ...unlimited, latency, packetLoss });
  }

  /** How many streams were decoded further since `before` (what `received` gave). */
  async growing(kind, measure, before, by) {
    const now = await this.received(kind);
    return now.filter(stream => {
      const earlier = before.find(({ id }) => id === stream.id);
      return stream[measure] >= (earlier?.[measure] ?? 0) + by;
    }).length;
  }

  /** What to add to a failure. */
  get lastWords() {
    return `\n--- the page's log ---\n${this.log.slice(-30).join('\n')}`;
  }

  close() {
    return this.context.close();
  }
}
