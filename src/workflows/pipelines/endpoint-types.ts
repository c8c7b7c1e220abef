/** Written by `npm run schemas:types` from schemas/; change those instead. */

import type { Json } from "../../core/json/json.ts";

/** Input and output of each callable endpoint. */
export interface EndpointTypes {
  "fal-ai/mmaudio-v2": { input: FalAiMmaudioV2Input; output: FalAiMmaudioV2Output };
  "fal-ai/qwen-image": { input: FalAiQwenImageInput; output: FalAiQwenImageOutput };
  "fal-ai/qwen-image/image-to-image": { input: FalAiQwenImageImageToImageInput; output: FalAiQwenImageImageToImageOutput };
  "fal-ai/wan/v2.2-a14b/image-to-video": { input: FalAiWanV22A14BImageToVideoInput; output: FalAiWanV22A14BImageToVideoOutput };
  "fal-ai/wan/v2.2-a14b/text-to-video": { input: FalAiWanV22A14BTextToVideoInput; output: FalAiWanV22A14BTextToVideoOutput };
  "tempera/stub": { input: TemperaStubInput; output: TemperaStubOutput };
  "tempera/text-to-video": { input: TemperaTextToVideoInput; output: TemperaTextToVideoOutput; checked: TemperaTextToVideoChecked };
  "tempera/text-to-video-with-audio": { input: TemperaTextToVideoWithAudioInput; output: TemperaTextToVideoWithAudioOutput; checked: TemperaTextToVideoWithAudioChecked };
}

type FalAiMmaudioV2Input = {
  /**
   * The URL of the video to generate the audio for.
   */
  video_url: string;
  /**
   * The prompt to generate the audio for.
   */
  prompt: string;
  /**
   * The negative prompt to generate the audio for.
   */
  negative_prompt?: string;
  /**
   * The seed for the random number generator
   */
  seed?: number | null;
  /**
   * The number of steps to generate the audio for.
   */
  num_steps?: number;
  /**
   * The duration of the audio to generate.
   */
  duration?: number;
  /**
   * The strength of Classifier Free Guidance.
   */
  cfg_strength?: number;
  /**
   * Whether to mask away the clip.
   */
  mask_away_clip?: boolean;
}

type FalAiMmaudioV2Output = {
  video: FalAiMmaudioV2OutputFile;
}
/**
 * The generated video with the sound.
 */
type FalAiMmaudioV2OutputFile = {
  /**
   * The URL where the file can be downloaded from.
   */
  url: string;
  /**
   * The mime type of the file.
   */
  content_type?: string | null;
  /**
   * The name of the file. It will be auto-generated if not provided.
   */
  file_name?: string | null;
  /**
   * The size of the file in bytes.
   */
  file_size?: number | null;
}

type FalAiQwenImageInput = {
  /**
   * The prompt to generate the image with
   */
  prompt: string;
  /**
   * The size of the generated image.
   */
  image_size?:
    FalAiQwenImageInputImageSize | ("square_hd" | "square" | "portrait_4_3" | "portrait_16_9" | "landscape_4_3" | "landscape_16_9");
  /**
   * The number of inference steps to perform.
   */
  num_inference_steps?: number;
  /**
   * The same seed and the same prompt given to the same version of the model will output the same image every time.
   */
  seed?: number | null;
  /**
   * The CFG (Classifier Free Guidance) scale is a measure of how close you want the model to stick to your prompt when looking for a related image to show you.
   */
  guidance_scale?: number;
  /**
   * If `true`, the media will be returned as a data URI and the output data won't be available in the request history.
   */
  sync_mode?: boolean;
  /**
   * The number of images to generate.
   */
  num_images?: number;
  /**
   * If set to true, the safety checker will be enabled.
   */
  enable_safety_checker?: boolean;
  /**
   * The format of the generated image.
   */
  output_format?: "jpeg" | "png";
  /**
   * The negative prompt for the generation
   */
  negative_prompt?: string;
  /**
   * Acceleration level for image generation. Options: 'none', 'regular', 'high'. Higher acceleration increases speed.
   */
  acceleration?: "none" | "regular" | "high";
  /**
   * The LoRAs to use for the image generation. You can use up to 3 LoRAs and they will be merged together to generate the final image.
   *
   * @maxItems 3
   */
  loras?: FalAiQwenImageInputLoraWeight[];
  /**
   * Enable turbo mode for faster generation. When enabled, uses 10 inference steps and a guidance scale of 1.2.
   */
  use_turbo?: boolean;
}
type FalAiQwenImageInputImageSize = {
  /**
   * The width of the generated image.
   */
  width?: number;
  /**
   * The height of the generated image.
   */
  height?: number;
}
type FalAiQwenImageInputLoraWeight = {
  /**
   * URL or the path to the LoRA weights.
   */
  path: string;
  /**
   * The scale of the LoRA weight. This is used to scale the LoRA weight before merging it with the base model.
   */
  scale?: number;
}

type FalAiQwenImageOutput = {
  /**
   * The generated image files info.
   */
  images: FalAiQwenImageOutputImage[];
  /**
   * Seconds spent, by part; `inference` is the time on the engine.
   */
  timings: {
    [k: string]: number;
  };
  /**
   * Seed of the generated Image. It will be the same value of the one passed in the input or the randomly generated that was used in case none was passed.
   */
  seed: number;
  /**
   * Whether the generated images contain NSFW concepts.
   */
  has_nsfw_concepts: boolean[];
  /**
   * The prompt used for generating the image.
   */
  prompt: string;
}
/**
 * Represents an image file.
 */
type FalAiQwenImageOutputImage = {
  /**
   * The URL where the file can be downloaded from.
   */
  url: string;
  /**
   * The width of the image in pixels.
   */
  width: number;
  /**
   * The height of the image in pixels.
   */
  height: number;
  /**
   * The mime type of the file.
   */
  content_type?: string;
  /**
   * The name of the file.
   */
  file_name?: string;
  /**
   * The size of the file in bytes.
   */
  file_size?: number;
}

type FalAiQwenImageImageToImageInput = {
  /**
   * The prompt to generate the image with
   */
  prompt: string;
  /**
   * The size of the generated image. By default, we will use the provided image for determining the image_size.
   */
  image_size?:
    | FalAiQwenImageImageToImageInputImageSize
    | ("square_hd" | "square" | "portrait_4_3" | "portrait_16_9" | "landscape_4_3" | "landscape_16_9")
    | null;
  /**
   * The number of inference steps to perform.
   */
  num_inference_steps?: number;
  /**
   * The same seed and the same prompt given to the same version of the model will output the same image every time.
   */
  seed?: number | null;
  /**
   * The CFG (Classifier Free Guidance) scale is a measure of how close you want the model to stick to your prompt when looking for a related image to show you.
   */
  guidance_scale?: number;
  /**
   * If `true`, the media will be returned as a data URI and the output data won't be available in the request history.
   */
  sync_mode?: boolean;
  /**
   * The number of images to generate.
   */
  num_images?: number;
  /**
   * If set to true, the safety checker will be enabled.
   */
  enable_safety_checker?: boolean;
  /**
   * The format of the generated image.
   */
  output_format?: "jpeg" | "png";
  /**
   * The negative prompt for the generation
   */
  negative_prompt?: string;
  /**
   * Acceleration level for image generation. Options: 'none', 'regular', 'high'. Higher acceleration increases speed.
   */
  acceleration?: "none" | "regular" | "high";
  /**
   * The LoRAs to use for the image generation. You can use up to 3 LoRAs and they will be merged together to generate the final image.
   *
   * @maxItems 3
   */
  loras?: FalAiQwenImageImageToImageInputLoraWeight[];
  /**
   * Enable turbo mode for faster generation. When enabled, uses 10 inference steps and a guidance scale of 1.2.
   */
  use_turbo?: boolean;
  /**
   * The reference image to guide the generation.
   */
  image_url: string;
  /**
   * Denoising strength. 1.0 = fully remake; 0.0 = preserve original.
   */
  strength?: number;
}
type FalAiQwenImageImageToImageInputImageSize = {
  /**
   * The width of the generated image.
   */
  width?: number;
  /**
   * The height of the generated image.
   */
  height?: number;
}
type FalAiQwenImageImageToImageInputLoraWeight = {
  /**
   * URL or the path to the LoRA weights.
   */
  path: string;
  /**
   * The scale of the LoRA weight. This is used to scale the LoRA weight before merging it with the base model.
   */
  scale?: number;
}

type FalAiQwenImageImageToImageOutput = {
  /**
   * The generated image files info.
   */
  images: FalAiQwenImageImageToImageOutputImage[];
  /**
   * Seconds spent, by part; `inference` is the time on the engine.
   */
  timings: {
    [k: string]: number;
  };
  /**
   * Seed of the generated Image. It will be the same value of the one passed in the input or the randomly generated that was used in case none was passed.
   */
  seed: number;
  /**
   * Whether the generated images contain NSFW concepts.
   */
  has_nsfw_concepts: boolean[];
  /**
   * The prompt used for generating the image.
   */
  prompt: string;
}
/**
 * Represents an image file.
 */
type FalAiQwenImageImageToImageOutputImage = {
  /**
   * The URL where the file can be downloaded from.
   */
  url: string;
  /**
   * The width of the image in pixels.
   */
  width: number;
  /**
   * The height of the image in pixels.
   */
  height: number;
  /**
   * The mime type of the file.
   */
  content_type?: string;
  /**
   * The name of the file.
   */
  file_name?: string;
  /**
   * The size of the file in bytes.
   */
  file_size?: number;
}

type FalAiWanV22A14BImageToVideoInput = {
  /**
   * URL of the input image. If the input image does not match the chosen aspect ratio, it is resized and center cropped.
   */
  image_url: string;
  /**
   * The text prompt to guide video generation.
   */
  prompt: string;
  /**
   * Number of frames to generate. Must be between 17 to 161 (inclusive).
   */
  num_frames?: number;
  /**
   * Frames per second of the generated video. Must be between 4 to 60. When using interpolation and `adjust_fps_for_interpolation` is set to true (default true,) the final FPS will be multiplied by the number of interpolated frames plus one. For example, if the generated frames per second is 16 and the number of interpolated frames is 1, the final frames per second will be 32. If `adjust_fps_for_interpolation` is set to false, this value will be used as-is.
   */
  frames_per_second?: number;
  /**
   * Negative prompt for video generation.
   */
  negative_prompt?: string;
  /**
   * Random seed for reproducibility. If None, a random seed is chosen.
   */
  seed?: number | null;
  /**
   * Resolution of the generated video (480p, 580p, or 720p).
   */
  resolution?: "480p" | "580p" | "720p";
  /**
   * Aspect ratio of the generated video. If 'auto', the aspect ratio will be determined automatically based on the input image.
   */
  aspect_ratio?: "auto" | "16:9" | "9:16" | "1:1";
  /**
   * Number of inference steps for sampling. Higher values give better quality but take longer.
   */
  num_inference_steps?: number;
  /**
   * If set to true, input data will be checked for safety before processing.
   */
  enable_safety_checker?: boolean;
  /**
   * If set to true, output video will be checked for safety after generation.
   */
  enable_output_safety_checker?: boolean;
  /**
   * Whether to enable prompt expansion. This will use a large language model to expand the prompt with additional details while maintaining the original meaning.
   */
  enable_prompt_expansion?: boolean;
  /**
   * Acceleration level to use. The more acceleration, the faster the generation, but with lower quality. The recommended value is 'regular'.
   */
  acceleration?: "none" | "regular";
  /**
   * Classifier-free guidance scale. Higher values give better adherence to the prompt but may decrease quality.
   */
  guidance_scale?: number;
  /**
   * Guidance scale for the second stage of the model. This is used to control the adherence to the prompt in the second stage of the model.
   */
  guidance_scale_2?: number;
  /**
   * Shift value for the video. Must be between 1.0 and 10.0.
   */
  shift?: number;
  /**
   * The model to use for frame interpolation. If None, no interpolation is applied.
   */
  interpolator_model?: "none" | "film" | "rife";
  /**
   * Number of frames to interpolate between each pair of generated frames. Must be between 0 and 4.
   */
  num_interpolated_frames?: number;
  /**
   * If true, the number of frames per second will be multiplied by the number of interpolated frames plus one. For example, if the generated frames per second is 16 and the number of interpolated frames is 1, the final frames per second will be 32. If false, the passed frames per second will be used as-is.
   */
  adjust_fps_for_interpolation?: boolean;
  /**
   * The quality of the output video. Higher quality means better visual quality but larger file size.
   */
  video_quality?: "low" | "medium" | "high" | "maximum";
  /**
   * The write mode of the output video. Faster write mode means faster results but larger file size, balanced write mode is a good compromise between speed and quality, and small write mode is the slowest but produces the smallest file size.
   */
  video_write_mode?: "fast" | "balanced" | "small";
  /**
   * URL of the end image.
   */
  end_image_url?: string | null;
}

type FalAiWanV22A14BImageToVideoOutput = {
  video: FalAiWanV22A14BImageToVideoOutputFile;
  /**
   * The text prompt used for video generation.
   */
  prompt?: string;
  /**
   * The seed used for generation.
   */
  seed: number;
}
/**
 * The generated video file.
 */
type FalAiWanV22A14BImageToVideoOutputFile = {
  /**
   * The URL where the file can be downloaded from.
   */
  url: string;
  /**
   * The mime type of the file.
   */
  content_type?: string | null;
  /**
   * The name of the file. It will be auto-generated if not provided.
   */
  file_name?: string | null;
  /**
   * The size of the file in bytes.
   */
  file_size?: number | null;
}

type FalAiWanV22A14BTextToVideoInput = {
  /**
   * The text prompt to guide video generation.
   */
  prompt: string;
  /**
   * Negative prompt for video generation.
   */
  negative_prompt?: string;
  /**
   * Number of frames to generate. Must be between 17 to 161 (inclusive).
   */
  num_frames?: number;
  /**
   * Frames per second of the generated video. Must be between 4 to 60. When using interpolation and `adjust_fps_for_interpolation` is set to true (default true,) the final FPS will be multiplied by the number of interpolated frames plus one. For example, if the generated frames per second is 16 and the number of interpolated frames is 1, the final frames per second will be 32. If `adjust_fps_for_interpolation` is set to false, this value will be used as-is.
   */
  frames_per_second?: number;
  /**
   * Random seed for reproducibility. If None, a random seed is chosen.
   */
  seed?: number | null;
  /**
   * Resolution of the generated video (480p, 580p, or 720p).
   */
  resolution?: "480p" | "580p" | "720p";
  /**
   * Aspect ratio of the generated video (16:9 or 9:16).
   */
  aspect_ratio?: "16:9" | "9:16" | "1:1";
  /**
   * Number of inference steps for sampling. Higher values give better quality but take longer.
   */
  num_inference_steps?: number;
  /**
   * If set to true, input data will be checked for safety before processing.
   */
  enable_safety_checker?: boolean;
  /**
   * If set to true, output video will be checked for safety after generation.
   */
  enable_output_safety_checker?: boolean;
  /**
   * Whether to enable prompt expansion. This will use a large language model to expand the prompt with additional details while maintaining the original meaning.
   */
  enable_prompt_expansion?: boolean;
  /**
   * Acceleration level to use. The more acceleration, the faster the generation, but with lower quality. The recommended value is 'regular'.
   */
  acceleration?: "none" | "regular";
  /**
   * Classifier-free guidance scale. Higher values give better adherence to the prompt but may decrease quality.
   */
  guidance_scale?: number;
  /**
   * Guidance scale for the second stage of the model. This is used to control the adherence to the prompt in the second stage of the model.
   */
  guidance_scale_2?: number;
  /**
   * Shift value for the video. Must be between 1.0 and 10.0.
   */
  shift?: number;
  /**
   * The model to use for frame interpolation. If None, no interpolation is applied.
   */
  interpolator_model?: "none" | "film" | "rife";
  /**
   * Number of frames to interpolate between each pair of generated frames. Must be between 0 and 4.
   */
  num_interpolated_frames?: number;
  /**
   * If true, the number of frames per second will be multiplied by the number of interpolated frames plus one. For example, if the generated frames per second is 16 and the number of interpolated frames is 1, the final frames per second will be 32. If false, the passed frames per second will be used as-is.
   */
  adjust_fps_for_interpolation?: boolean;
  /**
   * The quality of the output video. Higher quality means better visual quality but larger file size.
   */
  video_quality?: "low" | "medium" | "high" | "maximum";
  /**
   * The write mode of the output video. Faster write mode means faster results but larger file size, balanced write mode is a good compromise between speed and quality, and small write mode is the slowest but produces the smallest file size.
   */
  video_write_mode?: "fast" | "balanced" | "small";
}

type FalAiWanV22A14BTextToVideoOutput = {
  video: FalAiWanV22A14BTextToVideoOutputFile;
  /**
   * The text prompt used for video generation.
   */
  prompt?: string;
  /**
   * The seed used for generation.
   */
  seed: number;
}
/**
 * The generated video file.
 */
type FalAiWanV22A14BTextToVideoOutputFile = {
  /**
   * The URL where the file can be downloaded from.
   */
  url: string;
  /**
   * The mime type of the file.
   */
  content_type?: string | null;
  /**
   * The name of the file. It will be auto-generated if not provided.
   */
  file_name?: string | null;
  /**
   * The size of the file in bytes.
   */
  file_size?: number | null;
}

type TemperaStubInput = {
  /**
   * Echoed when there is no payload.
   */
  prompt?: string;
  /**
   * Any JSON value; echoed.
   */
  payload?: {
    [k: string]: Json;
  };
  /**
   * An http(s) or data URL of a file that the run reads.
   */
  file_url?: string | null;
  /**
   * How long the run takes, in milliseconds.
   */
  delay_ms?: number;
  /**
   * Progress events, spread evenly over the delay.
   */
  steps?: number;
  /**
   * A preview before each progress event, for who streams.
   */
  previews?: boolean;
  /**
   * Decides the bytes of the produced file.
   */
  seed?: number | null;
  /**
   * Size of the produced file; 0 produces none.
   */
  artifact_bytes?: number;
  /**
   * The produced file comes as a data URI and is not kept.
   */
  sync_mode?: boolean;
  /**
   * How the run fails, after its delay: with an error, by the death of the engine, by never answering, by refusing the input, or with a model error.
   */
  fail?: "none" | "error" | "crash" | "hang" | "invalid" | "model";
  /**
   * Attempts 1 to this fail; later ones work.
   */
  fail_attempts?: number;
  /**
   * The step after which it fails; 0: when all are done.
   */
  fail_step?: number;
  /**
   * With fail: model, the type of the model error: one of fal's, such as generation_timeout or image_too_small.
   */
  error_type?: string;
  /**
   * With fail: model, the numbers of a refused input, such as min_width.
   */
  error_ctx?: {
    [k: string]: Json;
  };
}

type TemperaStubOutput = {
  /**
   * The payload, else the prompt, else null.
   */
  echo: {
    [k: string]: Json;
  };
  /**
   * Which attempt gave this answer.
   */
  attempt: number;
  seed: number | null;
  /**
   * What the run saw of `file_url`.
   */
  input_file?: {
    sha256: string;
    bytes: number;
    content_type: string;
  };
  file?: TemperaStubOutputFile;
}
type TemperaStubOutputFile = {
  /**
   * The URL where the file can be downloaded from.
   */
  url: string;
  /**
   * The mime type of the file.
   */
  content_type?: string;
  /**
   * The name of the file.
   */
  file_name?: string;
  /**
   * The size of the file in bytes.
   */
  file_size?: number;
}

type TemperaTextToVideoInput = {
  /**
   * The content of the scene: the prompt of the image.
   */
  prompt: string;
  /**
   * The action in the scene: the prompt of the video. Default: the prompt of the image.
   */
  video_prompt?: string | null;
  /**
   * Content to avoid in the image and in the video.
   */
  negative_prompt?: string;
  /**
   * Aspect ratio of the image and of the video.
   */
  aspect_ratio?: "16:9" | "9:16" | "1:1";
  /**
   * Resolution of the video.
   */
  resolution?: "480p" | "580p" | "720p";
  /**
   * Number of frames that the video model generates.
   */
  num_frames?: number;
  /**
   * Number of generated frames per second of video.
   */
  frames_per_second?: number;
  /**
   * Denoising steps of the image.
   */
  image_steps?: number;
  /**
   * Denoising steps of the video.
   */
  video_steps?: number;
  /**
   * The same seed and the same input make the same video. Default: a random seed.
   */
  seed?: number | null;
}

type TemperaTextToVideoOutput = {
  image: TemperaTextToVideoOutputImage;
  video: TemperaTextToVideoOutputFile;
  /**
   * The seed that was used.
   */
  seed: number;
}
/**
 * The image that the video begins with.
 */
type TemperaTextToVideoOutputImage = {
  /**
   * The URL where the file can be downloaded from.
   */
  url: string;
  /**
   * The width of the image in pixels.
   */
  width: number;
  /**
   * The height of the image in pixels.
   */
  height: number;
  /**
   * The mime type of the file.
   */
  content_type?: string;
  /**
   * The name of the file.
   */
  file_name?: string;
  /**
   * The size of the file in bytes.
   */
  file_size?: number;
}
/**
 * The video.
 */
type TemperaTextToVideoOutputFile = {
  /**
   * The URL where the file can be downloaded from.
   */
  url: string;
  /**
   * The mime type of the file.
   */
  content_type?: string | null;
  /**
   * The name of the file.
   */
  file_name?: string | null;
  /**
   * The size of the file in bytes.
   */
  file_size?: number | null;
}

type TemperaTextToVideoChecked = {
  /**
   * The content of the scene: the prompt of the image.
   */
  prompt: string;
  /**
   * The action in the scene: the prompt of the video. Default: the prompt of the image.
   */
  video_prompt?: string | null;
  /**
   * Content to avoid in the image and in the video.
   */
  negative_prompt: string;
  /**
   * Aspect ratio of the image and of the video.
   */
  aspect_ratio: "16:9" | "9:16" | "1:1";
  /**
   * Resolution of the video.
   */
  resolution: "480p" | "580p" | "720p";
  /**
   * Number of frames that the video model generates.
   */
  num_frames: number;
  /**
   * Number of generated frames per second of video.
   */
  frames_per_second: number;
  /**
   * Denoising steps of the image.
   */
  image_steps: number;
  /**
   * Denoising steps of the video.
   */
  video_steps: number;
  /**
   * The same seed and the same input make the same video. Default: a random seed.
   */
  seed: number;
}

type TemperaTextToVideoWithAudioInput = {
  /**
   * The content of the scene: the prompt of the image.
   */
  prompt: string;
  /**
   * The action in the scene: the prompt of the video. Default: the prompt of the image.
   */
  video_prompt?: string | null;
  /**
   * The prompt of the audio. When it is empty, the audio follows what the video shows.
   */
  audio_prompt?: string;
  /**
   * Content to avoid in the image and in the video.
   */
  negative_prompt?: string;
  /**
   * Aspect ratio of the image and of the video.
   */
  aspect_ratio?: "16:9" | "9:16" | "1:1";
  /**
   * Resolution of the video.
   */
  resolution?: "480p" | "580p" | "720p";
  /**
   * Number of frames that the video model generates.
   */
  num_frames?: number;
  /**
   * Number of generated frames per second of video.
   */
  frames_per_second?: number;
  /**
   * Denoising steps of the image.
   */
  image_steps?: number;
  /**
   * Denoising steps of the video.
   */
  video_steps?: number;
  /**
   * Denoising steps of the audio.
   */
  audio_steps?: number;
  /**
   * The same seed and the same input make the same video. Default: a random seed.
   */
  seed?: number | null;
}

type TemperaTextToVideoWithAudioOutput = {
  image: TemperaTextToVideoWithAudioOutputImage;
  silent_video: TemperaTextToVideoWithAudioOutputFile;
  video: TemperaTextToVideoWithAudioOutputFile1;
  /**
   * The seed that was used.
   */
  seed: number;
}
/**
 * The image that the video begins with.
 */
type TemperaTextToVideoWithAudioOutputImage = {
  /**
   * The URL where the file can be downloaded from.
   */
  url: string;
  /**
   * The width of the image in pixels.
   */
  width: number;
  /**
   * The height of the image in pixels.
   */
  height: number;
  /**
   * The mime type of the file.
   */
  content_type?: string;
  /**
   * The name of the file.
   */
  file_name?: string;
  /**
   * The size of the file in bytes.
   */
  file_size?: number;
}
/**
 * The video without audio.
 */
type TemperaTextToVideoWithAudioOutputFile = {
  /**
   * The URL where the file can be downloaded from.
   */
  url: string;
  /**
   * The mime type of the file.
   */
  content_type?: string | null;
  /**
   * The name of the file.
   */
  file_name?: string | null;
  /**
   * The size of the file in bytes.
   */
  file_size?: number | null;
}
/**
 * The video with its audio.
 */
type TemperaTextToVideoWithAudioOutputFile1 = {
  /**
   * The URL where the file can be downloaded from.
   */
  url: string;
  /**
   * The mime type of the file.
   */
  content_type?: string | null;
  /**
   * The name of the file.
   */
  file_name?: string | null;
  /**
   * The size of the file in bytes.
   */
  file_size?: number | null;
}

type TemperaTextToVideoWithAudioChecked = {
  /**
   * The content of the scene: the prompt of the image.
   */
  prompt: string;
  /**
   * The action in the scene: the prompt of the video. Default: the prompt of the image.
   */
  video_prompt?: string | null;
  /**
   * The prompt of the audio. When it is empty, the audio follows what the video shows.
   */
  audio_prompt: string;
  /**
   * Content to avoid in the image and in the video.
   */
  negative_prompt: string;
  /**
   * Aspect ratio of the image and of the video.
   */
  aspect_ratio: "16:9" | "9:16" | "1:1";
  /**
   * Resolution of the video.
   */
  resolution: "480p" | "580p" | "720p";
  /**
   * Number of frames that the video model generates.
   */
  num_frames: number;
  /**
   * Number of generated frames per second of video.
   */
  frames_per_second: number;
  /**
   * Denoising steps of the image.
   */
  image_steps: number;
  /**
   * Denoising steps of the video.
   */
  video_steps: number;
  /**
   * Denoising steps of the audio.
   */
  audio_steps: number;
  /**
   * The same seed and the same input make the same video. Default: a random seed.
   */
  seed: number;
}
