// Figures and times as people read them; what a name says of a file.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const KINDS = {
  audio: "mp3 flac ogg opus m4a aac wav wma aiff ape",
  video: "mkv mp4 avi webm mov m4v wmv mpg mpeg ts ogv",
  image: "jpg jpeg png gif webp svg bmp tif tiff heic avif",
  document: "pdf epub mobi txt md doc docx odt rtf xls xlsx ods csv ppt pptx html",
  archive: "zip 7z rar tar gz tgz bz2 xz zst iso img dmg",
};
const PLAYED = "mp3 flac ogg oga opus m4a aac wav weba mp4 m4v webm ogv mkv mov";
const SHOWN = "jpg jpeg png gif webp avif bmp";

/** `1.4 GiB`. */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "?";
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** `98 MiB/s`. */
export const rate = (bytes) => `${size(bytes)}/s`;

/** `12,345`. */
export const count = (number) => Number(number).toLocaleString("en");

/** `1 file`, `12,345 files`. */
export const some = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

/** `71 %`; all is only all. */
export function percent(part, whole) {
  if (!whole) return part === whole ? "100 %" : "0 %";
  return `${Math.floor((part / whole) * 100)} %`;
}

/** `3 min`: how long something of so many seconds takes. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86400) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** `2 h ago`, of a time in RFC 3339. */
export function ago(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  return seconds < 5 ? "now" : `${span(seconds)} ago`;
}

/** The last letters of a PeerId, which tell peers apart. */
export const tail = (id) => id.slice(-8);

const extension = (name) => (name.includes(".") ? name.slice(name.lastIndexOf(".") + 1).toLowerCase() : "");
const among = (words, name) => words.split(" ").includes(extension(name));

/** `audio`, `video`, … or `file`. */
export const kind = (name) => Object.keys(KINDS).find((known) => among(KINDS[known], name)) ?? "file";

/** Whether a browser plays or shows it. */
export const isPlayed = (name) => among(PLAYED, name);
export const isShown = (name) => among(SHOWN, name);

/** A link that others paste into their search or `potluck get`. */
export function link(contentId, name, bytes) {
  return `potluck:${contentId}?name=${encodeURIComponent(name)}&size=${bytes}`;
}
