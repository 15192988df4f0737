// Waits for a job to end, so that the page shows its result at once; fetches the viewer's code meanwhile.
const PAUSE_MS = 500;
const AFTER_ERROR_MS = 3000;

const watchers = new WeakMap();

/** Watch the job of the page's data; a job that is watched already goes on being watched. */
export function mount({ parentElement, data, setTriggerValue }) {
  const before = watchers.get(parentElement);
  if (before?.wait === data.wait) before.setTriggerValue = setTriggerValue;
  else {
    before?.abort.abort();
    const watcher = { wait: data.wait, setTriggerValue, abort: new AbortController() };
    watchers.set(parentElement, watcher);
    if (data.wait) watch(watcher);
  }
  for (const script of data.preload) import(new URL(script, document.baseURI).href).catch(() => {}); // the viewer reports it
  return () => watchers.get(parentElement)?.abort.abort();
}

/** Send the job's final state to the page, once there is one; the page itself polls a job that cannot be waited for. */
async function watch(watcher) {
  const { wait, abort: { signal } } = watcher;
  while (!signal.aborted) {
    let pause = AFTER_ERROR_MS;
    try {
      const response = await fetch(new URL(wait, document.baseURI), { signal });
      if (response.status === 404) return;
      if (response.ok) {
        const { final, status } = await response.json();
        if (final) return watcher.setTriggerValue("ended", status);
        pause = PAUSE_MS;
      }
    } catch {
      if (signal.aborted) return;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
