// Files that a reader chose or dropped, each with the folders above it; hidden files of folders are left out.

/** The files of an input: `{ path, file }`. */
export function chosenFiles(files) {
  return visible([...files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
}

/** The files that were dropped, and those in folders that were dropped. */
export async function droppedFiles(transfer) {
  // The list is empty after this event, so everything is taken from it first.
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const taken = items.map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  const found = await Promise.all(
    taken.map(({ entry, file }) => (entry?.isDirectory ? filesBelow(entry) : [{ path: file.name, file }])),
  );
  return visible(found.flat());
}

async function filesBelow(folder) {
  const reader = folder.createReader();
  const found = [];
  for (let entries = await read(reader); entries.length; entries = await read(reader)) {
    for (const entry of entries) {
      if (entry.isDirectory) found.push(...(await filesBelow(entry)));
      else found.push({ path: entry.fullPath.slice(1), file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
    }
  }
  return found;
}

/** A part of a folder: browsers return a hundred entries at a time, and none after the last. */
function read(reader) {
  return new Promise((resolve, reject) => reader.readEntries(resolve, reject));
}

function visible(files) {
  return files.filter(({ path }) => !path.includes("/") || !path.split("/").some((part) => part.startsWith(".")));
}
