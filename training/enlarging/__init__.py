"""The networks that enlarge photographs: photographs, degradations, training, evaluation and export."""
