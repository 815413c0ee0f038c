// The web client as a person uses it: what stands on the page, by role and label. Whoever changes
// the page's words changes this file, and no test.

/** Opens a room's page, gives a name and joins with camera and microphone. */
export async function join(person, server, room, name) {
  await tryToJoin(person, server, room, name);
  await person.page.getByRole('button', { name: 'Leave', exact: true }).waitFor();
}

/** The same, whatever comes of it. */
export async function tryToJoin(person, server, room, name) {
  const { page } = await person.open(`${server.url}/r/${room}`);
  await page.getByLabel('Your name').fill(name);
  // Camera and microphone run: who joins before comes without.
  await page.getByRole('button', { name: 'Turn camera off' }).waitFor();
  await page.getByRole('button', { name: 'Mute', exact: true }).waitFor();
  await page.getByRole('button', { name: 'Join', exact: true }).click();
}

/** The tile of a person, or of a screen. */
export function tile({ page }, name) {
  const stage = page.getByRole('group', { name: 'Participants' });
  return stage.getByRole('article').filter({ has: page.getByText(name, { exact: true }) });
}

export const screenOf = (person, name) => tile(person, `${name}’s screen`);

/** Whether there is one such tile, and a picture moves in it. */
export const isMoving = tile =>
  tile.locator('video').evaluateAll(async videos => {
    if (videos.length !== 1) return false;
    const [video] = videos;
    const frames = () => video.getVideoPlaybackQuality().totalVideoFrames;
    const before = frames();
    await new Promise(resolve => setTimeout(resolve, 200));
    return video.videoWidth > 0 && frames() > before;
  });

/** The text of the one such element that is there now. */
export async function textOf(locator) {
  const texts = await locator.allTextContents();
  if (texts.length !== 1) throw new Error(`${texts.length} of ${locator}`);
  return texts[0];
}

export const isMuted = async tile => /, muted/.test(await textOf(tile));

export const press = ({ page }, name) => page.getByRole('button', { name, exact: true }).click();

export const mute = person => press(person, 'Mute');
export const unmute = person => press(person, 'Unmute');
export const shareScreen = person => press(person, 'Share screen');
export const stopSharing = person => press(person, 'Stop sharing');
export const leave = person => press(person, 'Leave');

export const hasButton = async ({ page }, name) =>
  (await page.getByRole('button', { name, exact: true }).count()) === 1;

/** Opens the chat; its button says how much is unread. */
export async function openChat(person, name = 'Chat') {
  await press(person, name);
  await person.page.getByRole('textbox', { name: 'Message' }).waitFor();
}

/** Writes to everyone, or to whom is named, once they are known. */
export async function write({ page }, text, to) {
  if (to) await page.getByLabel('To', { exact: true }).selectOption({ label: to });
  await page.getByRole('textbox', { name: 'Message' }).fill(text);
  await page.keyboard.press('Enter');
}

/** What stands in the chat with these words. */
export const message = ({ page }, text) =>
  page.getByRole('log', { name: 'Messages' }).getByRole('listitem').filter({ hasText: text });

export const openPeople = person =>
  person.page.getByRole('button', { name: /^\d+ (person|people)$/ }).click();

/** On a telephone it covers the controls, so its own button is the way. */
export const closePeople = ({ page }) =>
  page.getByRole('complementary', { name: 'People' }).getByRole('button', { name: 'Close' }).click();

/** Somebody's line in the list of people. */
export const person = ({ page }, name) =>
  page.getByRole('list', { name: 'In the room' }).getByRole('listitem').filter({ hasText: name });

/** Opens somebody's menu in the list of people and chooses from it. */
export async function choose(who, name, item) {
  await who.page.getByRole('button', { name: `More about ${name}` }).click();
  await press(who, item);
}

/** Chooses in a drop-down of one of the toolbar's menus. */
export async function pick({ page }, menu, label, option) {
  await page.getByRole('button', { name: menu, exact: true }).click();
  await page.getByRole('combobox', { name: label, exact: true }).selectOption({ label: option });
  await page.keyboard.press('Escape');
}
