"""What the commands do, one file each. They load when they are called: `flash --help` needs none of them."""
