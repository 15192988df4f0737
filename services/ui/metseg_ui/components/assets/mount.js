// The page mounts the viewer as a Streamlit component: when one is created, kept or replaced.
import { Viewer } from "./viewer.js";

const viewers = new WeakMap();

/** Create the viewer, or update the existing one with the page's data; returns the function that removes it. */
export function mount(component) {
  const { parentElement, data } = component;
  const viewer = viewers.get(parentElement);
  viewer?.reviewing.receive(data.review);
  if (!viewer || !(showsSame(viewer.data, data) || viewer.reviewing.waitsFor(data))) replace(component);
  else viewer.receive(component, () => replace(component));
  return () => {
    viewers.get(parentElement)?.close();
    viewers.delete(parentElement);
  };
}

/** Create a viewer with the page's data in place of the one before; what was reviewed there and not stored is kept. */
function replace(component) {
  const { parentElement, data } = component;
  const before = viewers.get(parentElement);
  const same = before?.data.job === data.job ? before : null;
  const unsaved = same?.ready ? same.reviewing.unsaved : same?.unsaved;
  before?.close();
  const viewer = new Viewer(parentElement, component, same, unsaved);
  viewers.set(parentElement, viewer);
  viewer.receive(component, () => replace(component));
}

function showsSame(one, other) {
  return one.job === other.job && one.second?.volumes === other.second?.volumes && one.review.number === other.review.number;
}
