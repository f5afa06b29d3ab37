// The server's interface. The token comes in the address's fragment, which a browser never sends by itself.

export const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";

// Another token in the address is another start of the server: a changed fragment alone would load nothing.
addEventListener("hashchange", () => location.reload());

/** The server said no; `message` is its one line. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Trying again can help: the server is in trouble, or was started anew with another token. */
  get passing() {
    return this.status === 403 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/** No answer: the server is gone, or the network. */
export class Unreachable extends Error {}

export const get = (path, query = {}) => call("GET", path, query);
export const post = (path, body) => call("POST", path, {}, body);

async function call(method, path, query, body) {
  const asked = new URLSearchParams(
    Object.entries(query).filter(([, value]) => value !== null && value !== "" && value !== undefined),
  );
  const address = `/api/${path}${asked.size ? `?${asked}` : ""}`;
  const headers = { "X-Token": token };
  if (body) headers["Content-Type"] = "application/json";
  let reply, data;
  try {
    const signal = AbortSignal.timeout(30_000);
    reply = await fetch(address, { method, headers, signal, cache: "no-store", body: body && JSON.stringify(body) });
    data = await reply.json();
  } catch (error) {
    if (!reply || reply.ok) throw new Unreachable("The server does not answer.", { cause: error });
  }
  if (!reply.ok) throw new Refused(reply.status, data?.error ?? `The server answered with status ${reply.status}.`);
  return data;
}

const picture = (kind, id) => `/${kind}/${id}?token=${encodeURIComponent(token)}`;
export const thumb = (id) => picture("thumb", id);
export const image = (id) => picture("image", id);

/** A random id. `randomUUID` exists in secure contexts only, which a loopback address under another name is not. */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
