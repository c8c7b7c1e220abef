import { expect, it } from "vitest";
import { inputUrls } from "./input-file.ts";

it("finds URLs below fields that are named like URLs and contain objects or lists", () => {
  const input = {
    image_urls: ["https://a.example/1", { mask_url: "file:///etc/passwd" }],
    video_url: { cover_url: "https://a.example/2" },
    layers_urls: { image_url: "https://a.example/3" },
  };
  expect(inputUrls(input)).toEqual([
    { url: "https://a.example/1", loc: ["image_urls", 0] },
    { url: "file:///etc/passwd", loc: ["image_urls", 1, "mask_url"] },
    { url: "https://a.example/2", loc: ["video_url", "cover_url"] },
    { url: "https://a.example/3", loc: ["layers_urls", "image_url"] },
  ]);
});
