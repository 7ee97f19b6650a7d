"""What trained networks are compared in: deep l0 encoders, and unrolled iterations."""
