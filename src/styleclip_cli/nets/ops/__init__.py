"""The operations a generator spends its time in; faster kernels take their places here."""

from styleclip_cli.nets.ops.reference import channels_last, modulated_conv, resampled, upsample_rgb

__all__ = ["channels_last", "modulated_conv", "resampled", "upsample_rgb"]
