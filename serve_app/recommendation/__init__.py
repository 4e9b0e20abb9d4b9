"""What a user may like, from that user's own posts alone: profile -> seeds -> searches -> blend."""
