"""People in images lifted to 3D: from pixels to joints in metres, with the files that tell of it (`dg.predict`)."""
