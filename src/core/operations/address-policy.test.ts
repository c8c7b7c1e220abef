import { describe, expect, it } from "vitest";
import { mayReach, parseAllowedPrivate } from "./address-policy.ts";

const NONE = parseAllowedPrivate("");

describe("mayReach", () => {
  it.each(["8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "2606:4700:4700::1111", "[2a00:1450::1]"])(
    "allows the public address %s",
    (address) => {
      expect(mayReach(address, NONE)).toBe(true);
    },
  );

  it.each([
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "::",
    "::1",
    "[::1]",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "2002:7f00:1::",
    "::ffff:0x7f.0.0.1",
    "0x7f000001",
    "0177.0.0.1",
    "127.1",
    "not an address",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "1::2::3",
    "",
  ])("refuses %j", (address) => {
    expect(mayReach(address, NONE)).toBe(false);
  });

  it("allows the private addresses of the configuration, and no others", () => {
    const allowed = parseAllowedPrivate("10.1.0.0/16, ::1, 127.0.0.2");
    for (const address of ["10.1.0.0", "10.1.255.255", "::1", "127.0.0.2", "8.8.8.8"])
      expect(mayReach(address, allowed), address).toBe(true);
    for (const address of ["10.2.0.0", "10.0.255.255", "127.0.0.1", "::2"])
      expect(mayReach(address, allowed), address).toBe(false);
    expect(mayReach("169.254.169.254", parseAllowedPrivate("all"))).toBe(true);
    expect(() => parseAllowedPrivate("10.0.0.0/33")).toThrow(/10\.0\.0\.0\/33/);
  });
});
