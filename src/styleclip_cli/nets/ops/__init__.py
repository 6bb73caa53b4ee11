"""The operations a generator spends its time in; faster kernels take their places here."""

from styleclip_cli.nets.ops.reference import GAIN, channels_last, low_pass, styled_conv, to_rgb, upsample_rgb

__all__ = ["GAIN", "channels_last", "low_pass", "styled_conv", "to_rgb", "upsample_rgb"]
