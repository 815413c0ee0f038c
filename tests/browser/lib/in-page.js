// Runs in every page before its own scripts: remembers the peer connections, so that a test can
// read what any page, the web client included, sends and receives.

(() => {
  const connections = new Set();
  const Original = globalThis.RTCPeerConnection;
  globalThis.RTCPeerConnection = class extends Original {
    constructor(...configuration) {
      super(...configuration);
      connections.add(this);
    }
  };

  const open = () => [...connections].filter(pc => pc.connectionState !== 'closed');

  async function streams(type, kind) {
    const found = [];
    for (const [index, pc] of [...connections].entries()) {
      if (!open().includes(pc)) continue;
      for (const stat of (await pc.getStats()).values()) {
        if (stat.type === type && stat.kind === kind) found.push({ ...stat, id: `${index}/${stat.id}` });
      }
    }
    return found;
  }

  globalThis.media = {
    received: async kind => (await streams('inbound-rtp', kind)).filter(stat => stat.packetsReceived > 0),
    sent: kind => streams('outbound-rtp', kind),
    codecs: async kind => {
      const found = new Set();
      for (const pc of open()) {
        const stats = await pc.getStats();
        for (const stat of stats.values()) {
          if (stat.type === 'inbound-rtp' && stat.kind === kind) found.add(stats.get(stat.codecId)?.mimeType);
        }
      }
      return [...found];
    },
    /** The codecs of streams of which frames were decoded since `before` (what `received` gave). */
    decoding: async before => {
      const found = new Set();
      for (const [index, pc] of [...connections].entries()) {
        const stats = await pc.getStats();
        for (const stat of stats.values()) {
          if (stat.type !== 'inbound-rtp' || stat.kind !== 'video') continue;
          const earlier = before.find(({ id }) => id === `${index}/${stat.id}`)?.framesDecoded ?? 0;
          if (stat.framesDecoded > earlier) found.add(stats.get(stat.codecId)?.mimeType);
        }
      }
      return [...found];
    },
    /** The candidate pair that media takes. */
    path: async () => {
      for (const pc of open()) {
        const stats = await pc.getStats();
        for (const { type, selectedCandidatePairId } of stats.values()) {
          if (type === 'transport' && selectedCandidatePairId) return stats.get(selectedCandidatePairId);
        }
      }
      return undefined;
    },
    connections: () => connections.size,
  };
})();
