// The operator's page: which rooms there are, who is in them, and why somebody's call is as it is.

/** How often it is looked at; a person sees no more, and an engine answers in under a millisecond. */
const LOOK_EVERY_MS = 2000;

/** Loss from which on somebody notices, before repair. */
const BAD_LOSS = 0.05;

/** A queue that is heard as delay. */
const BAD_QUEUE_SECONDS = 0.1;

/** A wait for a picture that is too long. */
const BAD_WAIT_SECONDS = 2;

const [state, rooms, session] = ['state', 'rooms', 'session'].map(id => document.getElementById(id));

/**
 * An element with its contents; text stays text, whatever names people have.
 *
 * @param {string} name
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} contents
 */
function element(name, attributes, ...contents) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...contents);
  return made;
}

const percent = ratio => (ratio == null ? '' : `${(ratio * 100).toFixed(1)} %`);
const milliseconds = seconds => (seconds == null ? '' : `${Math.round(seconds * 1000)} ms`);
const kilobits = bits => `${Math.round(bits / 1000)} kbit/s`;
const layer = layer => (layer ? `${layer.rid ?? 'only'} (${kilobits(layer.bits_per_second)})` : '');

/** A duration as people say it. */
function age(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/**
 * @param {string} caption
 * @param {string[]} heads
 * @param {{cells: (Node | string)[], isBad?: boolean}[]} rows
 */
function table(caption, heads, rows) {
  const cells = (name, contents) => contents.map(content => element(name, {}, content));
  const head = element('tr', {}, ...cells('th', heads));
  const body = rows.map(({ cells: contents, isBad }) =>
    element('tr', isBad ? { class: 'is-bad' } : {}, ...cells('td', contents)),
  );
  return element('div', {}, element('h2', {}, caption), element('table', {}, head, ...body));
}

/** Whose session is shown, from the address. */
function chosen() {
  const [room, participant] = location.hash.slice(1).split('/').map(decodeURIComponent);
  return room && participant ? { room, participant } : null;
}

function showRooms(list) {
  const people = list.flatMap(({ room, shard, sessions }) =>
    sessions.map(one => ({
      isBad: !one.connected || one.loss_ratio > BAD_LOSS,
      cells: [
        `${room} (shard ${shard})`,
        element(
          'a',
          { href: `#${encodeURIComponent(room)}/${encodeURIComponent(one.participant)}` },
          one.name ?? one.participant,
        ),
        one.door,
        one.connected ? age(one.age_seconds) : 'connecting',
        String(one.publishes),
        String(one.receives),
        percent(one.loss_ratio),
        milliseconds(one.round_trip_seconds),
      ],
    })),
  );
  state.textContent = `${people.length} sessions in ${list.length} rooms`;
  const heads = ['Room', 'Who', 'Door', 'For', 'Sends', 'Receives', 'Loss', 'Round trip'];
  rooms.replaceChildren(table('Who is here', heads, people));
}

function pathTable(path) {
  const row = {
    isBad: path.standing_queue_seconds > BAD_QUEUE_SECONDS || path.loss_ratio > BAD_LOSS,
    cells: [
      path.state,
      kilobits(path.estimate_bits_per_second),
      kilobits(path.target_bits_per_second),
      kilobits(path.allocated_bits_per_second),
      percent(path.loss_ratio),
      milliseconds(path.standing_queue_seconds),
      milliseconds(path.feedback_seconds),
    ],
  };
  const heads = ['State', 'Estimate', 'Target', 'Layers cost', 'Loss', 'Queue', 'Feedback after'];
  return table('Path', heads, [row]);
}

function showSession(report) {
  const tracks = report.tracks.map(track => ({
    isBad: track.layers.every(({ active }) => !active) && !track.muted,
    cells: [
      track.mid,
      track.muted ? `${track.source}, muted` : track.source,
      track.layers.map(one => layer(one) + (one.active ? '' : ', silent')).join('; '),
      String(track.receivers),
    ],
  }));
  const slots = report.slots.map(slot => ({
    isBad: slot.waiting_seconds > BAD_WAIT_SECONDS || slot.loss_ratio > BAD_LOSS,
    cells: [
      `${slot.mid} (${slot.kind})`,
      slot.wished_height ? `${slot.wish}, ${slot.wished_height} px` : slot.wish,
      slot.publisher ?? '',
      slot.waiting_seconds == null ? slot.state : `${slot.state}: ${slot.waiting_seconds.toFixed(1)} s`,
      layer(slot.wanted),
      layer(slot.flows),
      String(slot.sent_packets),
      `${slot.nacked_packets} / ${slot.rtx_packets}`,
      String(slot.keyframes_asked),
      percent(slot.loss_ratio),
    ],
  }));
  const notes = report.recent.map(({ at_seconds: at, what }) =>
    element('li', {}, element('time', {}, `${at.toFixed(3)} s`), what),
  );
  return element(
    'article',
    {},
    element('h2', {}, `${report.name ?? report.participant}, for ${age(report.age_seconds)}`),
    table('Sends', ['m-line', 'Source', 'Layers', 'Slots that show it'], tracks),
    table(
      'Receives',
      [
        ...['m-line', 'Wished', 'From', 'State', 'Layer wanted', 'Layer that flows'],
        ...['Packets', 'Lost / again', 'Keyframes asked', 'Loss'],
      ],
      slots,
    ),
    ...(report.path ? [pathTable(report.path)] : []),
    element('h2', {}, 'Lately'),
    element('ol', { reversed: '' }, ...notes.reverse()),
  );
}

/** @param {string} path */
async function ask(path) {
  const response = await fetch(path, { cache: 'no-store' });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

async function look() {
  try {
    showRooms((await ask('/rooms')) ?? []);
    const who = chosen();
    const path =
      who &&
      `/rooms/${encodeURIComponent(who.room)}/participants/${encodeURIComponent(who.participant)}/stats`;
    const reports = path ? await ask(path) : [];
    if (reports === null) session.replaceChildren(element('p', {}, `${who.participant} has left.`));
    else session.replaceChildren(...reports.map(showSession));
  } catch (error) {
    state.textContent = `The server does not answer: ${error.message}`;
  }
}

addEventListener('hashchange', look);
for (;;) {
  await look();
  await new Promise(done => setTimeout(done, LOOK_EVERY_MS));
}
