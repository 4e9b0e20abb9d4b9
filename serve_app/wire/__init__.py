"""What crosses the wire: schemas, uploads, problem+json and the HTTP door."""
