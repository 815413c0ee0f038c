// Every sentence of the page, in English. A translation is a file like this one.

/** @param {number} n @param {string} one @param {string} many */
const count = (n, one, many) => (n === 1 ? `1 ${one}` : `${n} ${many}`);

export const strings = {
  product: 'Plenum',
  title: (/** @type {string} */ room) => `${room} · Plenum`,

  home: {
    heading: 'Everyone has a seat.',
    lead: 'Pick a name for a room and share the link. No account, nothing to install.',
    label: 'Room name',
    enter: 'Open the room',
    another: 'Suggest another name',
    hint: 'Letters, digits, and - _ . ~',
    invalid: 'Please use at least one letter or digit.',
    recent: 'Recent rooms',
  },

  lobby: {
    heading: 'Ready to join?',
    room: 'Room',
    name: 'Your name',
    namePlaceholder: 'How others see you',
    mode: 'Join with',
    modeFull: 'Camera and sound',
    modeAudio: 'Sound only',
    modeWatch: 'Just watching',
    modeFullHint: 'You see and hear everyone, and they see and hear you if you let them.',
    modeAudioHint: 'No pictures in either direction: for slow or metered connections.',
    modeWatchHint: 'You see and hear everyone; nobody sees or hears you.',
    join: 'Join',
    joining: 'Joining…',
    cameraOff: 'Your camera is off',
    starting: 'Asking for your camera and microphone…',
    watching: 'You will join without camera and microphone',
    level: 'Microphone level',
    retry: 'Try again',
  },

  device: {
    microphone: 'Microphone',
    camera: 'Camera',
    speaker: 'Loudspeaker',
    unnamed: (/** @type {number} */ n) => `Device ${n}`,
    systemDefault: 'System default',
    mirror: 'Mirror my picture',
    lost: (/** @type {string} */ device) => `${device} was unplugged.`,
    problems: {
      audio: {
        denied:
          'The browser does not let this page use the microphone. Allow it with the icon beside the address.',
        missing: 'No microphone was found. Plug one in, or join without.',
        busy: 'Another program is using the microphone. Close it, then try again.',
        insecure: 'Browsers give microphones only to secure pages (https).',
        other: 'The microphone could not be started.',
      },
      video: {
        denied:
          'The browser does not let this page use the camera. Allow it with the icon beside the address.',
        missing: 'No camera was found. You can join without.',
        busy: 'Another program is using the camera. Close it, then try again.',
        insecure: 'Browsers give cameras only to secure pages (https).',
        other: 'The camera could not be started.',
      },
      both: {
        denied:
          'The browser does not let this page use camera and microphone. Allow them with the icon beside the address.',
        missing: 'No camera and no microphone were found. You can join and listen.',
        busy: 'Another program is using camera and microphone. Close it, then try again.',
        insecure: 'Browsers give camera and microphone only to secure pages (https).',
        other: 'Camera and microphone could not be started.',
      },
    },
    screen: 'The screen could not be shared.',
  },

  bar: {
    label: 'Call controls',
    mute: 'Mute',
    unmute: 'Unmute',
    cameraOff: 'Turn camera off',
    cameraOn: 'Turn camera on',
    share: 'Share screen',
    stopShare: 'Stop sharing',
    audioMenu: 'Microphone and loudspeaker',
    cameraMenu: 'Choose camera',
    people: 'People',
    more: 'More',
    leave: 'Leave',
    grid: 'Show everyone',
    focus: 'Show the speaker large',
    otherLayout: 'Everyone, or the speaker large',
    fullScreen: 'Full screen',
    pip: 'Picture in picture',
    stats: 'Connection details',
    shortcuts: 'Keyboard shortcuts',
    video: 'Receive video',
  },

  stage: {
    label: 'Participants',
    you: 'You',
    youSuffix: (/** @type {string} */ name) => `${name} (you)`,
    screenOf: (/** @type {string} */ name) => `${name}’s screen`,
    yourScreen: 'Your screen',
    pin: (/** @type {string} */ name) => `Pin ${name}`,
    unpin: (/** @type {string} */ name) => `Unpin ${name}`,
    muted: 'muted',
    speaking: 'speaking',
    previous: 'Previous page',
    next: 'Next page',
    page: (/** @type {number} */ page, /** @type {number} */ pages) => `Page ${page} of ${pages}`,
    quality: { fair: 'Connection is weak', poor: 'Connection is bad' },
    alone: 'You are the first one here.',
    aloneHint: 'Send this link to whoever should come.',
  },

  people: {
    heading: 'People',
    count: (/** @type {number} */ n) => count(n, 'person', 'people'),
    inRoom: 'In the room',
    watching: 'Watching',
    close: 'Close',
    mic: { on: 'microphone on', off: 'muted', none: 'no microphone' },
    camera: { on: 'camera on', off: 'camera off' },
    sharing: 'shares a screen',
  },

  invite: {
    copy: 'Copy invite link',
    copied: 'Link copied',
    failed: 'Copying is not possible here. The link is in the address bar.',
  },

  notice: {
    joined: (/** @type {string} */ name) => `${name} joined`,
    left: (/** @type {string} */ name) => `${name} left`,
    shares: (/** @type {string} */ name) => `${name} shares a screen`,
    reconnecting: 'Connection lost. Getting you back in…',
    unstable: 'The connection is shaky. Looking for a better path…',
    offline: 'This machine is offline. You will be back as soon as it is not.',
    back: 'You are back.',
    muted: 'You are muted',
    unmuted: 'Others hear you',
    cameraOn: 'Your camera is on',
    cameraOff: 'Your camera is off',
    shareOn: 'Your screen is shared',
    shareOff: 'Your screen is no longer shared',
    refused: 'The server did not take that.',
    autoplay: 'Your browser keeps the sound off until you click.',
    autoplayButton: 'Turn sound on',
  },

  failed: {
    full: 'The room or the server is full. Try again in a moment.',
    unreachable: 'The server cannot be reached. Check your connection, then try again.',
    refused: (/** @type {string} */ detail) => `The server did not let you in: ${detail}`,
    unsupported: 'This browser cannot take part in calls (it has no WebRTC).',
  },

  over: {
    left: 'You left the room.',
    resumed: 'You continue in another tab.',
    closed: 'The call has ended for you.',
    again: 'Join again',
    home: 'Another room',
  },

  shortcuts: {
    heading: 'Keyboard shortcuts',
    close: 'Close',
    enable: 'Single-key shortcuts',
    talk: 'Talk while muted (hold)',
    space: 'Space',
    microphone: 'Microphone on or off',
    camera: 'Camera on or off',
    share: 'Share the screen, or stop',
    layout: 'Everyone, or the speaker large',
    people: 'People',
    page: 'Turn the page',
    fullScreen: 'Full screen',
    stats: 'Connection details',
    help: 'This help',
  },

  stats: {
    label: 'Connection details',
    roundTrip: 'Round trip',
    received: 'Received',
    sent: 'Sent',
    lost: 'Lost',
    estimate: 'Uplink estimate',
    layers: 'Own picture',
    none: '–',
    ms: (/** @type {number} */ ms) => `${Math.round(ms)} ms`,
    bitrate: (/** @type {number} */ bps) =>
      bps >= 1e6 ? `${(bps / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bps / 1000)} kbit/s`,
    ratio: (/** @type {number} */ ratio) => `${(ratio * 100).toFixed(1)} %`,
    layer: (/** @type {number} */ width, /** @type {number} */ height, /** @type {number} */ fps) =>
      `${width}×${height} · ${Math.round(fps)} fps`,
  },
};
