"""What more than one tier needs: contracts, protocols, codecs and the libraries around them. Imports no tier."""
