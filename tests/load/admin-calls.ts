import { type Dispatcher, request } from "undici";

/** Calls of the admin service with a key of scope ADMIN. Each rejects with the answer to a failed call. */
export interface AdminCalls {
  call<T>(method: "POST" | "PATCH" | "DELETE" | "PUT", path: string, body?: object | Buffer): Promise<T>;
  /** Makes an API key of an owner. */
  newKey(owner: string): Promise<{ key: string; key_id: string }>;
}

/** Makes the calls; a Buffer is sent as a package's archive, anything else as JSON. */
export function createAdminCalls(adminUrl: string, key: string, dispatcher: Dispatcher): AdminCalls {
  const calls: AdminCalls = {
    async call<T>(method: Dispatcher.HttpMethod, path: string, body?: object | Buffer): Promise<T> {
      const isArchive = Buffer.isBuffer(body);
      const answer = await request(`${adminUrl}${path}`, {
        method,
        headers: {
          authorization: `Key ${key}`,
          "content-type": isArchive ? "application/gzip" : "application/json",
        },
        ...(body && { body: isArchive ? body : JSON.stringify(body) }),
        dispatcher,
      });
      const text = await answer.body.text();
      if (answer.statusCode >= 300) throw new Error(`${method} ${path}: ${answer.statusCode} ${text}`);
      return (text === "" ? undefined : JSON.parse(text)) as T;
    },
    newKey: (owner) => calls.call("POST", "/v1/keys", { alias: owner, owner }),
  };
  return calls;
}
