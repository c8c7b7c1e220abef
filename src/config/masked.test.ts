import { describe, expect, it } from "vitest";
import { loadConfig } from "./load-config.ts";
import { createMask } from "./masked.ts";

/** The configuration of docker-compose.yml: user, password, database and bucket have one name. */
const COMPOSE = {
  DATABASE_URL: "postgres://tempera:tempera@127.0.0.1:54329/tempera",
  S3_ENDPOINT: "http://127.0.0.1:9000",
  S3_BUCKET: "tempera",
  S3_ACCESS_KEY: "tempera",
  S3_SECRET_KEY: "tempera-secret",
};

const maskOf = (env: Record<string, string>) => createMask(loadConfig(env));

describe("a password in an address", () => {
  it.each(["abc", "123456", "tempera", "p%40s%2Fs%22x", "correct horse"])("is masked: %s", (password) => {
    const url = new URL("postgres://someone@db:5432/tempera");
    url.password = password;
    const mask = maskOf({ DATABASE_URL: url.href });
    const decoded = `postgres://someone:${decodeURIComponent(url.password)}@db:5432/tempera`;
    for (const shown of [url.href, decoded, JSON.stringify(decoded).slice(1, -1)])
      expect(mask(`cannot connect to ${shown}: refused`)).toBe(
        "cannot connect to postgres://someone:***@db:5432/tempera: refused",
      );
  });

  it("is masked in an address that is not configured", () =>
    expect(maskOf({})("GET https://user:hunter2@example.com/a failed; https://example.com:8443/x@y")).toBe(
      "GET https://user:***@example.com/a failed; https://example.com:8443/x@y",
    ));

  it("is masked without a user", () =>
    expect(maskOf({})("redis://:abc@cache:6379")).toBe("redis://:***@cache:6379"));
});

describe("a harmless text stays", () => {
  it.each([
    'the bucket "tempera" at http://127.0.0.1:9000 is not there',
    'database "tempera" does not exist; user tempera; tempera/stub 1.0.0',
    "tempera-secret is the name of a secret of the cluster",
    "loaded in 123456 ms, pid 123456",
    "password authentication failed for user tempera",
    "the token is invalid or expired",
    "https://example.com/files?page=2&key_id=7 and tokens=12",
  ])("%s", (text) => {
    const mask = maskOf({ ...COMPOSE, REDIS_URL: "redis://:123456@cache:6379" });
    expect(mask(text)).toBe(text);
  });
});

describe("a secret in a place of a secret is masked", () => {
  it.each([
    ["authorization: Key abc", "authorization: Key ***"],
    ['{"Authorization":"Bearer abc"}', '{"Authorization":"***"}'],
    ["Proxy-Authorization: Basic YWJj", "Proxy-Authorization: Basic ***"],
    [
      "host=db user=tempera password=tempera dbname=tempera",
      "host=db user=tempera password=*** dbname=tempera",
    ],
    ["PGPASSWORD='a' S3_SECRET_KEY=b", "PGPASSWORD='***' S3_SECRET_KEY=***"],
    ["https://cdn/x?X-Amz-Signature=0a1b&part=1", "https://cdn/x?X-Amz-Signature=***&part=1"],
    ["wss://host/ws?fal_jwt_token=abc.def&x=1", "wss://host/ws?fal_jwt_token=***&x=1"],
    ['{"password":"a b","user":"c"}', '{"password":"***","user":"c"}'],
    ['{"password":"a\\"b","user":"c"}', '{"password":"***","user":"c"}'],
    ['{\\"password\\":\\"a\\\\\\"b\\",\\"user\\":\\"c\\"}', '{\\"password\\":\\"***\\",\\"user\\":\\"c\\"}'],
    ["6f1c2b3a-0000-4000-8000-00000000000a:abcdefgh", "6f1c2b3a-0000-4000-8000-00000000000a:***"],
    ["6f1c2b3a-0000-4000-8000-00000000000a%3Aabcdefgh", "6f1c2b3a-0000-4000-8000-00000000000a%3A***"],
  ])("%s", (text, masked) => expect(maskOf(COMPOSE)(text)).toBe(masked));
});

describe("a configured secret that cannot be an ordinary word", () => {
  const SECRET = 'Kq7/+"x9Lm2';
  const mask = maskOf({ ...COMPOSE, S3_SECRET_KEY: SECRET });

  it.each([SECRET, encodeURIComponent(SECRET), JSON.stringify(SECRET).slice(1, -1)])(
    "is masked wherever it occurs: %s",
    (shown) => expect(mask(`signed with:${shown}n`)).toBe("signed with:***n"),
  );

  it("is masked at 16 characters, also of one kind", () =>
    expect(maskOf({ S3_SECRET_KEY: "1234567890123456" })("id-1234567890123456")).toBe("id-***"));

  it("is not masked when it is a name of the configuration", () => {
    const named = maskOf({
      DATABASE_URL: "postgres://tempera-production:tempera-production@db/tempera-production",
    });
    expect(named("the database tempera-production is away")).toBe("the database tempera-production is away");
  });

  it("is masked as a whole when it contains another", () =>
    expect(
      maskOf({ TEMPERA_KEY_PEPPER: "pepper-of-sixteen,pepper-of-sixteen-and-more" })(
        "pepper-of-sixteen-and-more",
      ),
    ).toBe("***"));
});

it("shows the id of an access key, which is no secret", () => {
  const id = "AKIAIOSFODNN7EXAMPLE";
  expect(maskOf({ S3_ACCESS_KEY: id })(`the key ${id} may not write`)).toBe(`the key ${id} may not write`);
});
