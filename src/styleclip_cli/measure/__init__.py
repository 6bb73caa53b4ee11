"""What is measured of a pack once: statistics and relevance of style channels, in pieces that are kept."""
