// Imported into every process that runs a test file: one whose tests have failed may have left a server or a
// socket behind, for which the whole run would wait until its time is over.

import { after } from 'node:test';

/** Longer than it takes to end servers and browsers after the last test. */
const PATIENCE_MS = 30_000;

// The process that starts the others has no tests of its own.
if (process.env.NODE_TEST_CONTEXT?.startsWith('child')) {
  after(() => {
    setTimeout(() => {
      console.error(`left behind by the tests: ${process.getActiveResourcesInfo().join(', ')}`);
      process.exit();
    }, PATIENCE_MS).unref();
  });
}
