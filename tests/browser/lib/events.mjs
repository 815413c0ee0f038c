// Server-sent events, read as a program without a browser reads them.

/**
 * The events of a stream, one by one, until the server ends it.
 *
 * @param {string} url
 * @param {AbortSignal} signal
 */
export async function* events(url, signal) {
  const response = await fetch(url, { headers: { Accept: 'text/event-stream' }, signal });
  if (!response.ok) throw new Error(`GET ${url} answered ${response.status}`);
  let text = '';
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (text + chunk).split('\n\n');
    text = blocks.pop();
    for (const block of blocks) {
      const field = name => new RegExp(`^${name}: ?(.*)$`, 'm').exec(block)?.[1];
      const data = field('data');
      if (data !== undefined) yield { name: field('event'), id: field('id'), data: JSON.parse(data) };
    }
  }
}
