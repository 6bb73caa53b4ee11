"""Train latent mappers (paper section 5): latents -> mapper -> render -> losses -> optimizer, resumable."""
