"""Mimi's encoder and decoder as steps over frames (moshi models/compression.py).

Each can be cut where its convolution stack meets its transformer, for a provider that runs the one
and not the other.
"""

from enum import Flag, auto

import torch
from torch import Tensor

from ...conversion.checkpoint.config import MimiConfig
from ..modules.attention import Frames
from ..modules.linear import Style
from ..modules.quantization import SplitResidualVectorQuantizer
from ..modules.resample import ConvDownsample1d, ConvTrUpsample1d
from ..modules.seanet import SEANetDecoder, SEANetEncoder, few_as_products, no_products
from ..modules.step import Step
from ..modules.transformer import ProjectedTransformer
from .step_module import Port, StepModule


class Part(Flag):
    """Which half of an encoder or decoder a graph holds."""

    CONVOLUTIONS = auto()
    LATENTS = auto()
    WHOLE = CONVOLUTIONS | LATENTS


class MimiStep(StepModule):
    """What encoder and decoder share: their ports, by which the halves are chained."""

    def __init__(
        self, config: MimiConfig, codebooks: int, style: Style, frames: int, part: Part
    ) -> None:
        super().__init__(style.dialect)
        self.config, self.codebooks, self.part = config, codebooks, part
        self.frames = Frames(config.resample_stride, frames)

    def pcm(self) -> Port:
        frame = (self.config.frame_size, "frames")
        return Port("pcm", torch.float32, ("batch", self.config.channels, frame))

    def codes(self) -> Port:
        return Port("codes", torch.int64, ("batch", self.codebooks, "frames"))

    def latent(self) -> Port:
        length = (self.config.resample_stride, "frames")
        return Port("latent", torch.float32, ("batch", self.config.seanet.dimension, length))

    def transformer(self, style: Style) -> ProjectedTransformer:
        return ProjectedTransformer(
            self.config.transformer,
            self.config.transformer_input_dimension,
            self.config.transformer_output_dimension,
            self.frames,
            style,
        )


class MimiEncoder(MimiStep):
    """`pcm [batch, channels, frame size * frames]` to `codes [batch, codebooks, frames]`."""

    def __init__(
        self,
        config: MimiConfig,
        codebooks: int,
        style: Style,
        frames: int,
        part: Part = Part.WHOLE,
    ) -> None:
        super().__init__(config, codebooks, style, frames, part)
        if Part.CONVOLUTIONS in part:
            products = few_as_products(style) if part is Part.WHOLE else no_products
            self.encoder = SEANetEncoder(config.seanet, config.frame_size, products)
        if Part.LATENTS in part:
            self.encoder_transformer = self.transformer(style)
            if config.resample_stride > 1:
                dimension = config.seanet.dimension
                self.downsample = ConvDownsample1d(config.resample_stride, dimension, style)
            self.quantizer = SplitResidualVectorQuantizer(codebooks, config.quantizer, encodes=True)

    def inputs(self) -> list[Port]:
        return [self.pcm() if Part.CONVOLUTIONS in self.part else self.latent()]

    def outputs(self) -> list[Port]:
        return [self.codes() if Part.LATENTS in self.part else self.latent()]

    def step(self, step: Step, *inputs: Tensor) -> tuple[Tensor, ...]:
        (x,) = inputs
        if Part.CONVOLUTIONS in self.part:
            x = self.encoder(x, step)
        if Part.LATENTS in self.part:
            x = self.encoder_transformer(x, step)
            if self.config.resample_stride > 1:
                offset = step.read("encoder_transformer.transformer.offset")
                x = self.downsample(x, step, first=offset == 0)
            x = self.quantizer.encode(x)
        return (x,)


class MimiDecoder(MimiStep):
    """`codes [batch, codebooks, frames]`, -1 if there is none, to `pcm`."""

    def __init__(
        self,
        config: MimiConfig,
        codebooks: int,
        style: Style,
        frames: int,
        part: Part = Part.WHOLE,
    ) -> None:
        super().__init__(config, codebooks, style, frames, part)
        if Part.LATENTS in part:
            self.quantizer = SplitResidualVectorQuantizer(
                codebooks, config.quantizer, encodes=False
            )
            if config.resample_stride > 1:
                dimension = config.seanet.dimension
                self.upsample = ConvTrUpsample1d(config.resample_stride, dimension, style)
            self.decoder_transformer = self.transformer(style)
        if Part.CONVOLUTIONS in part:
            products = few_as_products(style) if part is Part.WHOLE else no_products
            self.decoder = SEANetDecoder(config.seanet, config.frame_size, products)

    def inputs(self) -> list[Port]:
        return [self.codes() if Part.LATENTS in self.part else self.latent()]

    def outputs(self) -> list[Port]:
        return [self.pcm() if Part.CONVOLUTIONS in self.part else self.latent()]

    def step(self, step: Step, *inputs: Tensor) -> tuple[Tensor, ...]:
        (x,) = inputs
        if Part.LATENTS in self.part:
            x = self.quantizer.decode(x)
            if self.config.resample_stride > 1:
                x = self.upsample(x, step)
            x = self.decoder_transformer(x, step)
        if Part.CONVOLUTIONS in self.part:
            x = self.decoder(x, step)
        return (x,)
