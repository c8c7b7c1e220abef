/**
 * Content types that a browser displays, by their exact names. None of them runs as a page of this server: an
 * SVG runs no script in the sandbox that every answer of a file carries.
 */
const SHOWN: ReadonlySet<string> = new Set([
  "application/json",
  "audio/aac",
  "audio/flac",
  "audio/mp3",
  "audio/mp4",
  "audio/mpeg",
  "audio/ogg",
  "audio/opus",
  "audio/wav",
  "audio/wave",
  "audio/webm",
  "audio/x-flac",
  "audio/x-m4a",
  "audio/x-wav",
  "font/collection",
  "font/otf",
  "font/ttf",
  "font/woff",
  "font/woff2",
  "image/apng",
  "image/avif",
  "image/bmp",
  "image/gif",
  "image/heic",
  "image/heif",
  "image/jpeg",
  "image/jpg",
  "image/jxl",
  "image/png",
  "image/svg+xml",
  "image/tiff",
  "image/vnd.microsoft.icon",
  "image/webp",
  "image/x-icon",
  "text/plain",
  "video/mp4",
  "video/mpeg",
  "video/ogg",
  "video/quicktime",
  "video/webm",
  "video/x-matroska",
  "video/x-msvideo",
]);

const TOKEN = "[\\w!#$%&'*+.^`|~-]+";
/** A media type with parameters (RFC 9110 §8.3.1), and nothing else: no list, no empty parameter. */
const MEDIA_TYPE = new RegExp(`^(${TOKEN}/${TOKEN})(?:[ \\t]*;[ \\t]*${TOKEN}=(?:${TOKEN}|"[^"\\\\,]*"))*$`);
const CHARSET = /;[ \t]*charset="?([\w-]+)"?/i;

/** The headers that say how a browser may treat a file. */
export interface ShownHeaders {
  "content-type": string;
  /** `attachment`, unless a browser may display the file. */
  "content-disposition"?: string;
}

/**
 * Chooses the headers of a file by the content type that its uploader or engine gave it. A type that is not
 * displayed is served as `application/octet-stream`, to be saved: browsers read a malformed type such as
 * `image/png;, text/html` as its last part, and would run the file as a page of this server.
 *
 *     shownHeaders("IMAGE/PNG") // { "content-type": "image/png" }
 *     shownHeaders("text/html")["content-disposition"] // "attachment"
 */
export function shownHeaders(contentType: string): ShownHeaders {
  const type = MEDIA_TYPE.exec(contentType)?.[1]?.toLowerCase();
  if (type === undefined || !SHOWN.has(type))
    return { "content-type": "application/octet-stream", "content-disposition": "attachment" };
  const charset = type.startsWith("text/") ? CHARSET.exec(contentType)?.[1] : undefined;
  return { "content-type": charset === undefined ? type : `${type}; charset=${charset}` };
}
