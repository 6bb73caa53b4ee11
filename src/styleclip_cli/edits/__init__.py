"""Ways to edit: each turns latents into edited latents."""
