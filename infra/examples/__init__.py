"""One study to try Vigie with: an order, an image, and the row that they make."""
