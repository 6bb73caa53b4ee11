"""Photos in and out: read, find the square of a face, cut it, put an edit back."""

from styleclip_cli.photo.read import Photo, read_image, read_photo

__all__ = ["Photo", "read_image", "read_photo"]
