"""The training of MemeTector: generated pictures, scenarios, the loop and the export."""
