// When the page looks for another path, and which there are, without a browser. Run with `npm run test:web`.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { only, waysOf } from '../../web/connection-test.js';
import { PathJudge, preferLatest } from '../../web/path.js';

const LOOK_MS = 400;

/** Feeds a judge with so many looks, and returns when it said what. */
function looker() {
  const judge = new PathJudge();
  let [now, received] = [0, 0];
  return {
    judge,
    look(count, { arrives = true, isDirect = true } = {}) {
      const said = [];
      for (let i = 0; i < count; i += 1) {
        now += LOOK_MS;
        if (arrives) received += 1000;
        const verdict = judge.look({ received, isDirect }, now);
        if (verdict) said.push([verdict, now]);
      }
      return said;
    },
  };
}

test('a path that falls silent in the middle of a call is given up after little more than a second, once', () => {
  const { look } = looker();
  assert.deepEqual(look(50), []);
  assert.deepEqual(look(50, { arrives: false }), [['silent', 50 * LOOK_MS + 3 * LOOK_MS]]);
  look(20);
  assert.equal(look(50, { arrives: false }).length, 1, 'and once more after it worked again');
});

test('a path on which little arrives anyway is left to the browser', () => {
  const { look } = looker();
  for (let i = 0; i < 50; i += 1) {
    assert.deepEqual(look(2), []);
    assert.deepEqual(look(5, { arrives: false }), []);
  }
});

test('from a path other than UDP the page tries to return, ever less often', () => {
  const { look } = looker();
  assert.deepEqual(look(100), []);
  const tried = look(2000, { isDirect: false }).map(([verdict, at]) => [verdict, at - 100 * LOOK_MS]);
  assert.ok(tried.every(([verdict]) => verdict === 'indirect'));
  const waits = tried.map(([, at], index) => Math.round((at - (tried[index - 1]?.[1] ?? 0)) / 1000));
  assert.deepEqual(waits, [10, 20, 40, 80, 160, 300]);
});

test('a change of network makes the next attempt an early one', () => {
  const { judge, look } = looker();
  look(300, { isDirect: false });
  judge.forget();
  assert.equal(look(30, { isDirect: false }).length, 1);
});

test('what is found by a later restart is preferred to whatever was there before', () => {
  const sdp = [
    'a=candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host',
    'a=candidate:2 1 tcp 2105458943 192.0.2.1 443 typ host tcptype passive',
    'a=end-of-candidates',
  ].join('\r\n');
  const priorities = (restarts, tcpFirst) =>
    [...preferLatest(sdp, restarts, tcpFirst).matchAll(/(udp|tcp) (\d+)/g)].map(([, , n]) => Number(n));
  assert.deepEqual(priorities(0, false), [2, 1]);
  assert.deepEqual(priorities(1, true), [3, 4], 'TCP first');
  assert.deepEqual(priorities(2, false), [6, 5]);
  assert.match(
    preferLatest(sdp, 0, false),
    /^a=candidate:2 1 tcp 1 192\.0\.2\.1 443 typ host tcptype passive\r$/m,
  );
});

test('the ways that a server offers are told apart', () => {
  const answer = [
    'a=candidate:1 1 udp 1 192.0.2.1 3478 typ host',
    'a=candidate:2 1 tcp 1 192.0.2.1 443 typ host tcptype passive',
    '',
  ].join('\r\n');
  const relays = ['turn:a?transport=udp', 'turn:a?transport=tcp', 'turns:a', 'turns:b'].map(urls => ({
    urls,
  }));
  const ways = waysOf(answer, relays);
  assert.deepEqual([...ways.keys()], ['udp', 'tcp', 'turn-udp', 'turn-tcp', 'turn-tls']);
  assert.equal(ways.get('turn-tls').length, 2);
  assert.deepEqual([...waysOf(only(answer, 'udp'), []).keys()], ['udp']);
  assert.deepEqual([...waysOf(only(answer, 'tcp'), []).keys()], ['tcp']);
});
