"""Reading media: what a file is by its content, and its pixels, samples and meshes. Knows no domain."""
