module onestream

go 1.23
