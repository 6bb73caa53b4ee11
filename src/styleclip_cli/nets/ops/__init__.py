"""The operations a generator spends its time in; faster kernels take their places here."""

from styleclip_cli.nets.ops.reference import modulated_conv, resampled, upsample_rgb

__all__ = ["modulated_conv", "resampled", "upsample_rgb"]
