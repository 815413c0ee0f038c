// Real Firefox with a made-up camera and microphone, driven over WebDriver BiDi.

import { readFile } from 'node:fs/promises';

import puppeteer from 'puppeteer-core';

import { until } from './until.mjs';

const PREFERENCES = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  // Without these two it offers the address of the default route alone, and never reaches loopback.
  'permissions.default.camera': 1,
  'permissions.default.microphone': 1,
  'media.peerconnection.ice.loopback': true,
  'media.autoplay.default': 0,
  // Nothing is fetched from anywhere but the server under test.
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'app.normandy.enabled': false,
};

export class Firefox {
  static async start() {
    const browser = await puppeteer.launch({
      browser: 'firefox',
      executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
      headless: true,
      acceptInsecureCerts: true,
      extraPrefsFirefox: PREFERENCES,
    });
    const page = await browser.newPage();
    await page.setViewport({ width: 1280, height: 800 });
    await page.evaluateOnNewDocument(await readFile(new URL('./in-page.js', import.meta.url), 'utf8'));
    return new Firefox(browser, page);
  }

  /** What went wrong in the page. */
  errors = [];

  constructor(browser, page) {
    this.browser = browser;
    this.page = page;
    page.on('pageerror', error => this.errors.push(String(error)));
  }

  open(url) {
    return this.page.goto(url);
  }

  /** Whether there is such a button, field or text now, by the name that is read out. */
  async has(name) {
    return (await this.page.$(`::-p-aria(${name})`)) !== null;
  }

  /** Presses a button, once it is there. */
  async press(name) {
    const button = await this.#find(name, 'button');
    await button.evaluate(it => it.click());
  }

  async fill(name, text) {
    const field = await this.#find(name, 'textbox');
    // What is remembered from before stands in it.
    await field.evaluate(it => it.select());
    await field.type(text);
  }

  #find(name, role) {
    return until(`Firefox has “${name}”`, () => this.page.$(`::-p-aria([name="${name}"][role="${role}"])`));
  }

  /** How many frames were decoded in all. */
  async framesDecoded() {
    const received = await this.page.evaluate(() => globalThis.media.received('video'));
    return received.reduce((sum, { framesDecoded = 0 }) => sum + framesDecoded, 0);
  }

  stop() {
    return this.browser.close();
  }
}
