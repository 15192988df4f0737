// Fingers on the picture: a swipe goes through the slices, a pinch zooms, and one finger moves a picture that is zoomed.

const SWIPE_PX = 18; // per slice

/** Let fingers on the stage act on the viewer. With a tool, one finger acts as the mouse does. */
export function listenToTouch(stage, viewer) {
  let last = null;
  const listen = (name, handle) =>
    stage.addEventListener(
      name,
      (event) => {
        event.stopPropagation(); // NiiVue would keep the page from scrolling
        if (viewer.ready) handle(event);
      },
      { capture: true, passive: false },
    );
  const begin = ({ touches }) => (last = { touches: [...touches], swiped: 0 });
  listen("touchstart", (event) => {
    begin(event);
    if (viewer.hasTool) asMouse("mousedown", event);
  });
  listen("touchmove", (event) => {
    const touches = [...event.touches];
    if (viewer.hasTool) return asMouse("mousemove", event);
    if (touches.length !== last?.touches.length) return begin(event);
    if (touches.length === 2) pinch(viewer, last.touches, touches);
    else if (viewer.settings.zoom > 1) viewer.scene.canvas.drag(...[last.touches[0], touches[0]]);
    else last.swiped = swipe(viewer, last, touches[0]);
    if (event.cancelable) event.preventDefault();
    last.touches = touches;
  });
  listen("touchend", (event) => {
    if (viewer.hasTool) asMouse("mouseup", event);
    begin(event);
  });
  listen("touchcancel", begin);
}

/** Go through the slices with the finger; returns the way that is not yet a whole slice. */
function swipe(viewer, { touches: [before], swiped }, now) {
  const way = swiped + before.clientX - now.clientX;
  const slices = Math.trunc(way / SWIPE_PX);
  if (slices) viewer.showSlice(viewer.slice + slices);
  return way - slices * SWIPE_PX;
}

function pinch(viewer, before, now) {
  const distance = ([one, other]) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
  const middle = { clientX: (now[0].clientX + now[1].clientX) / 2, clientY: (now[0].clientY + now[1].clientY) / 2 };
  const position = viewer.scene.canvas.positionAt(middle) ?? viewer.focus();
  viewer.zoomTo((viewer.settings.zoom * distance(now)) / distance(before), position);
}

function asMouse(type, event) {
  if (event.cancelable) event.preventDefault();
  const { clientX, clientY } = event.changedTouches[0];
  event.target.dispatchEvent(new MouseEvent(type, { clientX, clientY, bubbles: true, button: 0, buttons: type === "mouseup" ? 0 : 1 }));
}
