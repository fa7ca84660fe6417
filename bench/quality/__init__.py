"""Whether a compiled prompt makes a cheap model better, on real models, beside baselines, and at what cost."""
