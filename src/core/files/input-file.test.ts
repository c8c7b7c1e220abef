import { expect, it } from "vitest";
import { inputUrls } from "./input-file.ts";

it("finds the paths of LoRA weights with the names of their files, and URLs beside them", () => {
  const input = {
    loras: [
      { path: " owner/name\n", weight_name: "a.safetensors", image_url: "https://a.example/1" },
      { path: "https://a.example/b.safetensors", scale: 0.5, weight_name: null },
      { scale: 1 },
      "none",
    ],
  };
  expect(inputUrls(input)).toEqual([
    { url: "owner/name", loc: ["loras", 0, "path"], lora: { weightName: "a.safetensors" } },
    { url: "https://a.example/b.safetensors", loc: ["loras", 1, "path"], lora: {} },
    { url: "https://a.example/1", loc: ["loras", 0, "image_url"] },
  ]);
});

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
