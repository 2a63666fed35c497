from pathlib import Path
ASSET = Path(__file__).parent / "assets" / "open_body.npz"
