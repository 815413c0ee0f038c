// Somebody in the same machine's Chromium, at the same server, by UDP and behind no firewall: when
// their picture stands still as well, the machine did it and no way of media.

import { until } from '../../browser/lib/until.mjs';
import { connect, path } from './call.mjs';
import { Browser } from './machines.mjs';
import { SERVER } from './network.mjs';

/** Until there is a picture. */
const FIRST_PICTURE_MS = 10_000;
/** Freezes are told when they end, and a machine that stood still catches up in no order. */
const TOGETHER_MS = 3_000;

export class Bystander {
  #watched = [];

  static async start(network) {
    await network.addBystander();
    const bystander = new Bystander();
    bystander.browser = await Browser.start(network, 'bystander');
    bystander.page = await bystander.browser.page(`https://${SERVER}/`);
    const { page } = bystander;
    await page.evaluate(connect, { name: 'eve', path: '/whip/beside/eve', publishes: true });
    const connected = async () => (await page.evaluate(path, 'eve')).state === 'connected';
    await until('the bystander is connected', connected, FIRST_PICTURE_MS);
    await page.evaluate(connect, { name: 'sam', path: '/whep/beside/eve', publishes: false });
    const sees = async () => (await page.evaluate(path, 'sam')).frames > 0;
    await until('the bystander sees a picture', sees, FIRST_PICTURE_MS);
    return bystander;
  }

  /** Notes how long the picture of somebody who is watched has stood still, and this one's. */
  async note(frozenS) {
    const own = (await this.page.evaluate(path, 'sam')).frozenS;
    this.#watched.push({ at: performance.now(), frozenS, own });
  }

  /** Seconds that the watched picture stood still while this one moved; forgets what was noted. */
  frozenAlone() {
    const noted = this.#watched;
    this.#watched = [];
    const grown = noted.slice(1).map(({ at, frozenS, own }, n) => ({
      at,
      frozenS: frozenS - noted[n].frozenS,
      own: own - noted[n].own,
    }));
    for (const { at, frozenS, own } of grown.filter(({ frozenS, own }) => frozenS > 0 || own > 0)) {
      const when = ((at - noted[0].at) / 1000).toFixed(0);
      console.log(
        `# after ${when} s: stood for ${frozenS.toFixed(2)} s, the bystander's for ${own.toFixed(2)} s`,
      );
    }
    const shared = ({ at }) => grown.some(other => other.own > 0 && Math.abs(other.at - at) < TOGETHER_MS);
    return grown.filter(step => !shared(step)).reduce((sum, { frozenS }) => sum + frozenS, 0);
  }

  stop() {
    return this.browser.stop();
  }
}
