// A program of its own, as Firefox is spoken with over the network, and so on its machine: publishes and
// watches in one tab, and prints which way the picture came.
//
//     node firefox-way.mjs https://198.51.100.1/ direct|relay

import { Firefox } from '../../browser/lib/firefox.mjs';
import { until } from '../../browser/lib/until.mjs';
import { connect, path } from './call.mjs';
import { oneWay } from './clients.mjs';

/** Until there is a picture, whichever way it has to take. */
const FIRST_PICTURE_MS = 10_000;

const [url, way] = process.argv.slice(2);
const firefox = await Firefox.start();
try {
  await firefox.open(url);
  const { page } = firefox;
  const begun = performance.now();
  if (way === 'direct') {
    await page.evaluate(connect, { name: 'ada', path: '/whip/fox/ada', publishes: true });
    await page.evaluate(connect, { name: 'player', path: '/whep/fox/ada', publishes: false });
  } else {
    // The page's own modules, which know relays.
    await page.evaluate(oneWay, 'fox');
  }
  const left = FIRST_PICTURE_MS - (performance.now() - begun);
  await until('there is a picture', async () => (await page.evaluate(path, 'player')).frames > 10, left);
  console.log(JSON.stringify(await page.evaluate(path, 'player')));
} finally {
  await firefox.stop();
}
